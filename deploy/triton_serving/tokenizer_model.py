"""Triton Python backend: texts -> input_ids, and token_type_ids where the model takes them.

build_models.py copies this file to models/tokenizer/1/model.py, beside encoding.json, the export's tokenizer.json and,
where long texts are not truncated, long_texts.py. Windows of a text are laid side by side, max_length ids each.
It needs numpy, which Triton containers have, and `pip install tokenizers` in the version that encoding.json names; or
paddlenlp, for tokenizers that have no Rust twin.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


def text_problem(texts):
    """What is wrong with the first text that has nothing to classify, or None; as simple_serving/query.py decides."""
    for index, text in enumerate(texts):
        if "\0" in text:
            return f"INPUT[{index}]: it holds a NUL character; remove it"
        if not any(character.isprintable() and character != " " for character in text):
            return f"INPUT[{index}]: there is nothing to read in it; leave it out"
    return None


class TritonPythonModel:
    def initialize(self, args):
        """Read the tokenizer; what is wrong is raised here, so that the model is not ready."""
        config = json.loads(args["model_config"])
        self.names = [output["name"] for output in config["output"]]
        self.multiple = int(config["parameters"]["pad_to_multiple_of"]["string_value"])
        folder = Path(args["model_repository"]) / args["model_version"]
        content = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        self.max_length, self.pad_token_id = content["max_length"], content["pad_token_id"]
        version, is_cut = content["tokenizers"], "long_text" not in content
        self.encode = self._rust(folder, version, is_cut) if version else self._paddlenlp(folder, is_cut)
        self.long_text = None
        if not is_cut:
            spec = importlib.util.spec_from_file_location("long_texts", folder / "long_texts.py")
            self.module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)
            self.long_text = self.module.LongText(content["long_text"], self.max_length)

    def _rust(self, folder, version, is_cut):
        import tokenizers

        if tokenizers.__version__ != version:
            raise pb_utils.TritonModelException(
                f"tokenizers {tokenizers.__version__} is installed, but the ids were proven with {version}; run: "
                f"pip install tokenizers=={version}"
            )
        rust = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        if not is_cut:
            rust.no_truncation()
        fields = ["ids" if name == "input_ids" else "type_ids" for name in self.names]

        def encode(texts):
            encodings = rust.encode_batch(texts)
            return [[getattr(encoding, field) for encoding in encodings] for field in fields]

        return encode

    def _paddlenlp(self, folder, is_cut):
        from paddlenlp.transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(folder / "paddlenlp"))
        options = {"return_attention_mask": False, "return_token_type_ids": "token_type_ids" in self.names}
        cut = {"truncation": True, "max_length": self.max_length}
        options.update(cut if is_cut else {"truncation": False, "verbose": False})

        def encode(texts):
            encoded = tokenizer(texts, **options)
            return [encoded[name] for name in self.names]

        return encode

    def execute(self, requests):
        """Tokenise all texts of some requests together.

        All of them get one width, a multiple of pad_to_multiple_of: Triton then batches their next step.
        """
        batches = [pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy().ravel() for request in requests]
        texts, errors = [], []
        for batch in batches:
            try:
                decoded = [text.decode("utf-8") for text in batch]
                problem = text_problem(decoded)
            except UnicodeDecodeError as why:
                problem = f"INPUT is not UTF-8: {why}"
            texts.append([] if problem else decoded)
            errors.append(pb_utils.TritonError(problem) if problem else None)
        rows = self.encode(sum(texts, [])) if any(texts) else [[] for _ in self.names]
        if self.long_text is not None:
            rows = self.side_by_side(rows)
        width = max(map(len, rows[0]), default=1)
        if width <= self.max_length:
            width = min(self.max_length, -(-width // self.multiple) * self.multiple)
        responses, start = [], 0
        for batch, error in zip(texts, errors):
            tensors = []
            for name, values in zip(self.names, rows):
                array = np.full((len(batch), width), self.pad_token_id if name == "input_ids" else 0, "int64")
                for row, ids in zip(array, values[start : start + len(batch)]):
                    row[: len(ids)] = ids
                tensors.append(pb_utils.Tensor(name, array))
            start += len(batch)
            responses.append(pb_utils.InferenceResponse([] if error else tensors, error))
        return responses

    def side_by_side(self, rows):
        """What the model gets of each text; windows one behind the other, which all are full.

        Args:
            rows (list): for each input the ids of all tokens of each text.

        Returns:
            list: the same with the ids that are kept.
        """
        features = [self.long_text.features(dict(zip(self.names, ids))) for ids in zip(*rows)]
        windows = list(map(self.module.windows_of, features))
        return [[sum((window[name] for window in own), []) for own in windows] for name in self.names]
