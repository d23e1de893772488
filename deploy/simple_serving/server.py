"""Serve export folders (see core/export.py) over HTTP, with a page to try them at /.

    paddlenlp server server:app --host 0.0.0.0 --port 8189
    uvicorn server:app --host 0.0.0.0 --port 8189
    SERVING_MODELS=full=../../checkpoint/export,small=../../checkpoint/prune/width_mult_0.67@onnx uvicorn server:app

    POST /models/<name>   {"data": {"text": ["…"]}, "parameters": {"max_seq_len": 128, "batch_size": 32, "top_k": 1}}
                          -> {"result": {"label": ["…"], "confidence": [0.97], "label_id": [8]}}
    GET  /models          names, labels and limits
    GET  /health          200 when requests are answered, else 503; /health/live: 503 when only a restart helps
    GET  /metrics         for Prometheus
    POST /models/<name>/reload   takes up a new export, with the API key; SIGHUP does so for all models

Settings come from the environment (see Settings): `paddlenlp server` passes no flags on. Whatever is wrong with a
request is answered with 4xx and {"error": {"status": 422, "message": "…", "field": "data.text[3]"}}.
settings.py says what can be set, application.py answers requests, messages.py reads and sends them, query.py checks
them, models.py has the models, batching.py runs the texts, answers.py writes what they gave, connections.py ends
connections that only wait, observing.py counts and logs.
"""

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import require_packages
from deploy.simple_serving.settings import Settings
from utils import exit_on_usage_error

with exit_on_usage_error():
    settings = Settings.from_environment(os.environ)
    settings.folders()  # before what takes seconds
    require_packages("server.py", "uvicorn", "prometheus-client", requirements="deploy/requirements.txt")
    from deploy.simple_serving.application import create_app
    from deploy.simple_serving.observing import start_logging

    start_logging()
    app = create_app(settings)

# Importing paddlenlp gives SIGTERM back to the system (paddle.disable_signal_handler); uvicorn has set its handler
# before it imports this file, and Python still knows it.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
