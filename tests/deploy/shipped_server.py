"""PaddleNLP's SimpleServing with its own handlers, to compare with; $BENCH_EXPORT_DIR is the export folder."""

import os

from paddlenlp import SimpleServer
from paddlenlp.server import CustomModelHandler, MultiClassificationPostHandler

app = SimpleServer()
app.register(
    task_name="models/cls_multi_class",
    model_path=os.environ["BENCH_EXPORT_DIR"],
    tokenizer_name=os.environ["BENCH_EXPORT_DIR"],
    model_handler=CustomModelHandler,
    post_handler=MultiClassificationPostHandler,
)
