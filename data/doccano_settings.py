"""Settings of the doccano that doccano_site.py starts, in whose folder a copy lies; it runs in doccano's environment.

Beside its settings, doccano's page is helped where it is at fault (1.8.4). Suggestions have to be switched on again
each time the page is loaded; and where the model does not answer, the label of the text before is shown as if it were
this one's, and ticking it ticks a text without a label. Here a text without a label gets the model's suggestion when
it is opened, and a model that does not answer gives none.
"""

import logging
import os
import re

from config.settings.production import *  # noqa: F403
from config.settings.production import MIDDLEWARE

FOLDER = os.environ["DOCCANO_HOME"]
# doccano's own: a key that everybody knows, any host name, and uploads beside its program.
SECRET_KEY = os.environ["DOCCANO_SITE_KEY"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DJANGO_DRF_FILEPOND_UPLOAD_TMP = os.path.join(FOLDER, "uploads")  # noqa: PTH118
# The tasks' queue is asked all the time, and would keep the database from being written.
CELERY_BROKER_URL = "sqla+sqlite:///" + os.path.join(FOLDER, "broker.sqlite3")  # noqa: PTH118
MIDDLEWARE = [*MIDDLEWARE, "doccano_settings.Suggestions"]

# What the page asks for when it shows a text, and what its button for auto-labelling does.
LABELS_OF_TEXT = re.compile(r"/v1/projects/(\d+)/examples/(\d+)/categories/?")
BUTTON = re.compile(r"/v1/projects/\d+/auto-labeling/?")
# Seconds within which a person who has cleared a suggestion does not get it again.
ONCE_IN = 3600
# The probability of a suggestion; of a label that a person has chosen it is 0.
SUGGESTED = 1e-6
logger = logging.getLogger("suggestions")


class Suggestions:
    """Asks the project's model when a member opens a text that has no label."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        match = LABELS_OF_TEXT.fullmatch(request.path) if request.method == "GET" else None
        if match and request.user.is_authenticated:
            try:
                suggest(int(match[1]), int(match[2]), request.user)
            except Exception as error:  # whatever it is: the text is shown, without a suggestion
                logger.warning("no suggestion: %s", error)
        return self.get_response(request)

    def process_exception(self, request, exception):
        if request.method == "POST" and BUTTON.fullmatch(request.path):
            from django.http import JsonResponse

            logger.warning("no suggestion: %s", exception)
            return JsonResponse({"ok": True}, status=201)
        return None


def suggest(project, example, user):
    """Set the model's label where the text has none, nobody has ticked it, and the user is one of the project's."""
    from auto_labeling.models import AutoLabelingConfig
    from auto_labeling.pipeline.execution import execute_pipeline
    from django.core.cache import cache
    from examples.models import Example
    from projects.models import Member

    key = f"suggested-{user.id}-{example}"
    configs = list(AutoLabelingConfig.objects.filter(project_id=project))
    if not configs or cache.get(key) or not Member.objects.filter(project_id=project, user=user).exists():
        return
    text = Example.objects.get(pk=example, project_id=project)
    shared = text.project.collaborative_annotation
    labels, ticks = text.categories, text.states
    if not shared:
        labels, ticks = labels.filter(user=user), ticks.filter(confirmed_by=user)
    if labels.count() > 1:  # somebody chose one while the model answered
        labels.filter(prob__gt=0).delete()
    if labels.exists() or ticks.exists():
        return
    for config in configs:
        suggested = execute_pipeline(text.data, config=config)
        suggested.labels = [{**label, "prob": SUGGESTED} for label in suggested.labels]
        suggested.save(text.project, text, user)
    if labels.exists():
        cache.set(key, True, ONCE_IN)
