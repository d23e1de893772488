"""Settings of the Label Studio that label_studio_site.py starts, in whose folder a copy lies; its
environment runs it.

Two people who label at once get the same texts (1.23.2), for two reasons. Their page, opened by its address, asks for
the next one of a selection of no texts, which is taken for a queue of one's own, where nobody looks whether somebody
else has the text. And whether it is taken is looked up and noted in two steps, which nothing holds together on SQLite.
Here a selection of nothing is none, and the next text is given to one person after the other: one process answers.
"""

import importlib.util
import json
import re
import threading
from pathlib import Path

# Run here and not imported: they ask Django for themselves while they are being read.
_PATH = Path(importlib.util.find_spec("label_studio.core.settings.label_studio").origin)
exec(compile(_PATH.read_bytes(), _PATH, "exec"), globals())
MIDDLEWARE = ["label_studio_settings.OneAfterTheOther", *globals()["MIDDLEWARE"]]

# What the labelling page asks for the next text, as the API's users do.
NEXT = re.compile(r"/api/projects/\d+/next/?")
ACTIONS, NEXT_ACTION = "/api/dm/actions", "next_task"


class OneAfterTheOther:
    """Answers one request for the next text at a time."""

    def __init__(self, get_response):
        self.get_response, self.mutex = get_response, threading.Lock()

    def __call__(self, request):
        by_page = request.path.rstrip("/") == ACTIONS and request.GET.get("id") == NEXT_ACTION
        if not by_page and not NEXT.fullmatch(request.path):
            return self.get_response(request)
        if by_page:
            request._body = without_empty_selection(request.body)
        with self.mutex:
            return self.get_response(request)


def without_empty_selection(body):
    """What the page sends, bytes, without an order, a filter and a selection that say nothing."""
    try:
        content = json.loads(body)
        chosen, filters = content.get("selectedItems") or {}, content.get("filters") or {}
        if content.get("ordering") or filters.get("items") or chosen.get("all") or chosen.get("included"):
            return body
    except (ValueError, AttributeError):
        return body
    left_out = ("ordering", "filters", "selectedItems")
    return json.dumps({key: value for key, value in content.items() if key not in left_out}).encode("ascii")
