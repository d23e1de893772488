"""FastAPI and ONNX Runtime with nothing else, to compare with; $BENCH_EXPORT_DIR is the export folder."""

import json
import os
from pathlib import Path

import onnxruntime
from fastapi import FastAPI
from paddlenlp.transformers import AutoTokenizer
from pydantic import BaseModel
from scipy.special import softmax

FOLDER = Path(os.environ["BENCH_EXPORT_DIR"])
labels = list(json.loads((FOLDER / "id2label.json").read_text(encoding="utf-8")).values())
tokenizer = AutoTokenizer.from_pretrained(str(FOLDER))
session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
names = [value.name for value in session.get_inputs()]
app = FastAPI()


class Query(BaseModel):
    text: list[str]


@app.post("/classify")
def classify(query: Query):
    encoded = tokenizer(query.text, max_length=128, truncation=True, padding=True, return_tensors="np")
    rows = softmax(session.run(None, {name: encoded[name].astype("int64") for name in names})[0], axis=1)
    return {"label": [labels[index] for index in rows.argmax(axis=1)], "confidence": rows.max(axis=1).tolist()}
