"""Samples a second of PyTorch, for bench_train.py, which runs this in the environment that has PyTorch.

python torch_epoch.py batches.json
"""

import json
import sys
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup


def main(path):
    """One pass over the batches given, in their order."""
    content = json.loads(Path(path).read_text())
    torch.manual_seed(0)
    torch.set_num_threads(content["threads"])
    foreign = {"architectures", "model_type", "paddlenlp_version"}
    shape = {name: value for name, value in content["config"].items() if name not in foreign}
    config = BertConfig(**shape, num_labels=11)
    model = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, len(content["batches"]))
    start, samples = time.perf_counter(), 0
    for batch in content["batches"]:
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
        labels = torch.tensor([label for _, label in batch])
        model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        samples += len(batch)
    print(samples / (time.perf_counter() - start))


if __name__ == "__main__":
    main(sys.argv[1])
