"""What several tests of retrieval_based/ use: flags, weights, exports."""

from retrieval_based import data
from retrieval_based.utils.config import Hit
from tests.helpers import ROOT

FOLDER = ROOT / "retrieval_based"

SHORT_TRAINING = (
    "--output_emb_size 16 --max_seq_length 32 --batch_size 16 --learning_rate 3e-3 --epochs 3 --log_steps 2 "
    "--device cpu"
)


def call(script, *flags):
    """Run a script's main in this process."""
    script.main(list(map(str, flags)))


def train_flags(texts, model, output, *more):
    """Flags of a short training on the CPU; later ones win."""
    files = f"--train_set_file {texts / 'train.txt'} --corpus_file {texts / 'label.txt'}"
    files += f" --similar_text_pair_file {texts / 'dev.txt'} --model_name_or_path {model}"
    files += f" --save_dir {output} --recall_result_dir {output / 'recall'}"
    return [*files.split(), *SHORT_TRAINING.split(), *map(str, more)]


def weights(folder):
    import paddle

    encoder = paddle.load(str(folder / "model_state.pdparams"))
    return {**encoder, **paddle.load(str(folder / "projection.pdparams"))}


def is_same(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all((one[name].numpy() == other[name].numpy()).all() for name in one)


def export_untrained(model, folder, seed):
    """An untrained dual encoder of the tiny ERNIE, exported."""
    import paddle

    from retrieval_based.base_model import Embedder
    from retrieval_based.export import export_encoder

    paddle.seed(seed)
    export_encoder(Embedder(str(model), output_emb_size=16, max_seq_length=32), folder, ["paddle"])
    return folder


def write_file(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def recalled(path, queries, truth, hits):
    found = [[Hit(f"text {label}", label, score, "") for label, score in row] for row in hits]
    return write_file(path, *data.recall_lines(queries, truth, found))
