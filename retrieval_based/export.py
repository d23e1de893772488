"""Write the dual encoder as one graph: text in, unit vector out.

The folder holds model.pdmodel and model.pdiparams, model.onnx where asked for, the tokenizer, and dual_encoder.json
with the settings and model_hash. utils/extractor.py runs it.
"""

import paddle

from core.export import (
    TruncatingClassifier,
    convert_to_onnx,
    delete_replaced,
    file_sizes,
    save_onnx,
    save_tokenizer,
    versions,
    write_graph,
)
from core.loading import uses_token_types
from retrieval_based.base_model import load_embedder
from retrieval_based.checkpoints import SETTINGS_FILE, model_hash
from utils import read_json, staged_files, write_json


def export_encoder(embedder, folder, types):
    """Write an export folder (see the top of this file).

    Args:
        embedder (Embedder): the dual encoder.
        folder (Path): files of an earlier export that this one does not replace are removed, all others stay.
        types (list[str]): of paddle, which is always written, and onnx.

    Returns:
        str: the model's hash.

    Raises:
        UsageError: the conversion to ONNX failed; the folder is then as it was.
    """
    model, tokenizer = embedder.model, embedder.tokenizer
    model.eval()
    max_length = embedder.settings["max_seq_length"]
    names = ["input_ids", "token_type_ids"] if uses_token_types(model) else ["input_ids"]
    spec = [paddle.static.InputSpec(shape=[None, None], dtype="int64", name=name) for name in names]
    wrapped = TruncatingClassifier(model, max_length, tokenizer.pad_token_id, tokenizer.sep_token_id)
    wrapped.eval()
    old_files = read_json(folder / SETTINGS_FILE).get("files", {})
    with staged_files(folder) as stage:
        write_graph(wrapped, spec, stage)
        if "onnx" in types:
            save_onnx(convert_to_onnx(stage, "model"), stage / "model.onnx")
        save_tokenizer(stage, tokenizer, max_length)
        settings = {**embedder.settings, "dim": embedder.dim}
        hash_of_model, files = model_hash(stage, settings), file_sizes(stage)
        content = {**settings, "model_hash": hash_of_model, "versions": versions(), "files": files}
        write_json(stage / SETTINGS_FILE, content, ascii_only=True)
    delete_replaced(folder, old_files, files)
    return hash_of_model


def export_checkpoint(checkpoint, folder, types):
    """Load a checkpoint on the CPU and write its export folder; see export_encoder."""
    # The graph's order of the weights follows their names, which are numbers in the process: the same each time.
    paddle.utils.unique_name.switch()
    return export_encoder(load_embedder(checkpoint, "cpu"), folder, types)
