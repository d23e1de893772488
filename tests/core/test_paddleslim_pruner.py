"""--pruner paddleslim: each fault of the library that is mended; what comes out is tested beside ours in
test_compress.py. The size of a model against its formula, and that nothing else needs the package."""

import copy
import importlib.metadata
import subprocess
import sys
from fractions import Fraction

import numpy as np
import paddle
import pytest
from paddle.jit.dy2static import program_translator
from paddlenlp.trainer import trainer_compress

import train
from core import paddleslim_pruner, pipeline
from core.export import write_graph
from tests.core.foreign_models import tiny_classifier
from tests.helpers import ROOT, compress_flags, not_installed, train_flags
from utils import UsageError

LAYERS, HIDDEN, NEURONS, LABELS = 2, 48, 96, 3


@pytest.fixture
def trainer(trained_once, tmp_path):
    """Of the tiny checkpoint, as --do_compress has it."""
    pytest.importorskip("paddleslim")
    run = train.parse_all(compress_flags(*trained_once, tmp_path / "out", "--pruner", "paddleslim"))
    (tmp_path / "out").mkdir()
    return pipeline.prepare(run, str(trained_once[1]))


def values_of(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_the_first_heads_and_neurons_of_one_supernet_are_what_is_left(trainer, tmp_path):
    """Each width is cut out of the same weights, not out of the width before; the trainer stays as it was."""
    before, pieces = (
        values_of(trainer.model),
        [trainer_compress._dynabert_export, trainer_compress._get_dynabert_model],
    )
    trainer.args.learning_rate = 1e-9
    # A ranking that changes nothing, and a training that hardly does: each width is the full model's first part.
    ranked = trainer_compress.compute_neuron_head_importance
    trainer_compress.compute_neuron_head_importance = lambda model, data_loader, num_heads, **options: (
        paddle.to_tensor(np.tile(np.arange(num_heads, 0, -1, dtype="float32"), [LAYERS, 1])),
        [np.arange(NEURONS, 0, -1, dtype="float32")] * LAYERS,
    )
    try:
        models = paddleslim_pruner.narrow_models(trainer, [Fraction(3, 4), Fraction(2, 3), Fraction(1, 2)])
    finally:
        trainer_compress.compute_neuron_head_importance = ranked
    for width, model in zip((3 / 4, 2 / 3, 1 / 2), models):
        for name, value in values_of(model).items():
            size = tuple(slice(length) for length in value.shape)
            np.testing.assert_allclose(value, before[name][size], atol=1e-5, err_msg=name)
        layer = model.base_model.encoder.layers[-1]
        assert layer.self_attn.num_heads == round(12 * width) and layer.linear1.weight.shape[1] == NEURONS * width
    assert all((value == before[name]).all() for name, value in values_of(trainer.model).items())
    assert [trainer_compress._dynabert_export, trainer_compress._get_dynabert_model] == pieces
    assert list((tmp_path / "out").iterdir()) == []  # no supernet is left as if it were a model


def test_the_labels_of_dev_are_in_no_step(trainer, monkeypatch):
    """The library ranks by gradients on dev, and left them for the first step of the training."""
    seen = []
    step = trainer.create_optimizer_and_scheduler

    def create(worker, num_training_steps):
        gradients = [parameter.grad for parameter in worker.model.parameters()]
        seen.append(sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None))
        step.__func__(worker, num_training_steps)

    monkeypatch.setattr(type(trainer), "create_optimizer_and_scheduler", create)
    paddleslim_pruner.narrow_models(trainer, [Fraction(1, 2)])
    assert seen == [0]


def test_only_the_student_has_dropout(trainer, monkeypatch):
    """From the first step on: the library began without, and gave it to the teacher once dev had been looked at."""
    from paddleslim.nas.ofa import OFA

    modes = []
    forward = OFA.forward

    def note(ofa, *inputs, **options):
        student, teacher = ofa.model.sublayers()[-1], ofa.ofa_teacher_model.sublayers()[-1]
        modes.append((student.training, teacher.training))
        return forward(ofa, *inputs, **options)

    monkeypatch.setattr(OFA, "forward", note)
    trainer.args.save_steps = 1
    trainer.args.max_steps = 2
    trainer.model.eval()
    paddleslim_pruner.narrow_models(trainer, [Fraction(1, 2)])
    assert modes[0] == (True, False) and set(modes) == {(True, False), (False, False)}


def test_a_model_that_the_library_would_change_is_refused(trainer, monkeypatch):
    forward = trainer_compress.mha_ofa_forward
    monkeypatch.setattr(trainer_compress, "mha_ofa_forward", lambda *inputs: 2 * forward(*inputs))
    with pytest.raises(UsageError, match="changes the logits of ErnieForSequenceClassification by .*--pruner builtin"):
        paddleslim_pruner.narrow_models(trainer, [Fraction(1, 2)])


def test_every_epoch_has_its_order_and_tensors(trainer):
    loader = paddleslim_pruner.Loader(trainer.get_train_dataloader())
    first, second = ([batch["input_ids"] for batch in loader] for _ in range(2))
    assert len(first) == len(loader) and all(isinstance(ids, paddle.Tensor) for ids in first)
    assert [ids.shape for ids in first] != [ids.shape for ids in second] or any(
        (one != other).any() for one, other in zip(first, second)
    )


def test_a_width_that_is_never_right_is_saved_all_the_same(trainer):
    wrong = [{"input_ids": paddle.ones([1, 4], "int64"), "labels": paddle.to_tensor([[5]])}]

    class Zero(paddle.nn.Layer):
        def forward(self, input_ids, attention_mask):
            return paddle.zeros([len(input_ids), 6])

    assert 0 < paddleslim_pruner.dev_accuracy(trainer, Zero(), wrong) < 1e-6
    right = [{**wrong[0], "labels": paddle.to_tensor([[0]])}]
    assert paddleslim_pruner.dev_accuracy(trainer, Zero(), [*right, *wrong]) == 0.5


def test_no_trace_leaves_its_parameters_to_a_later_export(trainer, tmp_path, monkeypatch):
    """Paddle knows programs by their addresses, and a later one may be at the address of one that is gone."""
    monkeypatch.setattr(program_translator, "_program_hash", lambda program: 0)
    notes = program_translator.ProgramTranslator.get_instance()._params_recorder.params_dict
    model = copy.deepcopy(trainer.model)
    model.eval()
    paddleslim_pruner.size_of(trainer.model, 8)
    assert not notes
    narrow = paddleslim_pruner.narrow_models(trainer, [Fraction(1, 2)])
    assert narrow and not notes
    write_graph(model, [paddle.static.InputSpec([None, None], "int64", "input_ids")], tmp_path / "graph")
    assert list((tmp_path / "graph").glob("*.pdmodel"))


def test_train_and_compress_in_one_run_learns(data_dir, tiny_model, tmp_path):
    """The scheduler of the training ends at 0: the library's pruning went on with it."""
    pytest.importorskip("paddleslim")
    flags = train_flags(data_dir, tiny_model, tmp_path / "out", "--do_compress", "--width_mult_list", "0.5")
    train.main([*flags, "--num_train_epochs", "2", "--pruner", "paddleslim"])
    state = paddle.load(str(tmp_path / "out" / "width_mult_0.5" / "model_state.pdparams"))
    teacher = paddle.load(str(tmp_path / "out" / "model_state.pdparams"))
    name = "ernie.embeddings.word_embeddings.weight"
    assert np.abs(state[name].numpy() - teacher[name].numpy()).max() > 1e-4


# ------------------------------------------------------------------------------------------------------------ refusals


def test_the_package_is_asked_for_before_anything_heavy(trained_once, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    flags = compress_flags(*trained_once, tmp_path / "prune", "--pruner", "paddleslim")
    with pytest.raises(UsageError, match="--pruner paddleslim needs paddleslim.*-r core/requirements-compress.txt"):
        train.parse_all(flags)
    assert not (tmp_path / "prune").exists()


def test_a_package_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "paddleslim.nas.ofa", None)
    with pytest.raises(UsageError, match="cannot be imported .*libgl1"):
        paddleslim_pruner.require_paddleslim()


@pytest.mark.parametrize(
    "flags, problem",
    [
        ("--pruner magic", "--pruner magic: not known; use one of builtin, paddleslim"),
        ("--pruner paddleslim --strategy ptq", "--strategy ptq prunes nothing"),
        ("--pruner paddleslim --gradient_accumulation_steps 2", "would ignore --gradient_accumulation_steps"),
        ("--pruner paddleslim --bf16", "would ignore --bf16"),
    ],
)
def test_refused_flags(trained_once, tmp_path, flags, problem):
    with pytest.raises(UsageError, match=problem):
        train.parse_all([*compress_flags(*trained_once, tmp_path / "prune"), *flags.split()])


@pytest.mark.parametrize("width", ["0.67", "5/8", "__import__('os')"])
def test_widths_are_fractions_before_the_library_evaluates_them(trained_once, tmp_path, width):
    pytest.importorskip("paddleslim")
    flags = compress_flags(*trained_once, tmp_path / "prune", "--pruner", "paddleslim", "--width_mult_list", width)
    with pytest.raises(UsageError, match="the model has 12 heads"):
        train.parse_all(flags)


def test_paddle_3_is_refused(trained_once, tmp_path, monkeypatch):
    monkeypatch.setattr("core.arguments.paddle_version", lambda: "3.1.1")
    flags = compress_flags(*trained_once, tmp_path / "prune", "--pruner", "paddleslim")
    with pytest.raises(UsageError, match="--pruner paddleslim: PaddleSlim 2.6.0 is made for Paddle 2"):
        train.parse_all(flags)


def test_pruning_is_no_part_of_an_evaluation():
    with pytest.raises(UsageError, match="--pruner paddleslim: has a part in compression only; add --do_compress"):
        train.parse_all("--do_eval --pruner paddleslim".split())


def test_several_processes(trained_once, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    with pytest.raises(UsageError, match="--do_compress works in one process only"):
        train.parse_all(compress_flags(*trained_once, tmp_path / "prune", "--pruner", "paddleslim"))


# ---------------------------------------------------------------------------------------------------- size of a model


def test_parameters_and_flops_are_their_formulas(trainer, monkeypatch):
    """paddleslim.analysis.flops gives a Linear on [1, 20, 48] a 48th of its work."""
    tokens, model = 20, trainer.model
    layer = 4 * tokens * HIDDEN**2 + 2 * tokens**2 * HIDDEN + 2 * tokens * HIDDEN * NEURONS
    own = sum(parameter.size for parameter in model.parameters())
    assert paddleslim_pruner.size_of(model, tokens) == (own, LAYERS * layer + HIDDEN**2 + HIDDEN * LABELS)
    assert paddle.in_dynamic_mode()
    with monkeypatch.context() as patch:
        patch.setattr(paddleslim_pruner, "paddle_version", lambda: "3.1.1")  # which it cannot trace a model with
        assert paddleslim_pruner.size_of(model, tokens) == (own, None)
    monkeypatch.setitem(sys.modules, "paddleslim.analysis", None)
    assert paddleslim_pruner.size_of(model, tokens) == (own, None)


@pytest.mark.parametrize("family", ["albert", "roberta", "roformer"])
def test_families_that_it_cannot_look_at(family):
    """They ended a compression with a TypeError, or had less than no work."""
    pytest.importorskip("paddleslim")
    model = tiny_classifier(family)
    parameters = sum(parameter.size for parameter in model.parameters())
    assert paddleslim_pruner.size_of(model, 20) == (parameters, None) and paddle.in_dynamic_mode()


def test_without_the_package_and_its_opencv(data_dir, tiny_model, tmp_path):
    """Import, training, evaluation, export, our pruning with INT8, and Taskflow; the table has no FLOPs then."""
    flags = train_flags(data_dir, tiny_model, tmp_path / "out", "--do_eval", "--do_export", "--do_compress")
    flags += ["--width_mult_list", "1/2", "--num_train_epochs", "1"]
    code = f"""
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("paddleslim", "paddleslim_ops", "cv2"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import train
train.main({flags!r})
from paddlenlp import Taskflow
task = Taskflow("text_classification", task_path={str(tmp_path / "out" / "width_mult_0.5")!r}, is_static_model=True)
print(task("头疼挂什么科"))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "'predictions'" in run.stdout
    table = next(line for line in (run.stdout + run.stderr).splitlines() if "parameters" in line)
    assert "dev accuracy" in table and "FLOPs" not in table
