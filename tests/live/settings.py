"""The example project's settings, with what only these tests turn."""

from example_project.settings import *  # noqa: F403
from example_project.settings import DATABASES, INSTALLED_APPS, INSTANT_NOTIFICATIONS, env

INSTALLED_APPS = [*INSTALLED_APPS, "tests.live.apps.Halting"]

_DATABASE = DATABASES["default"]
if pool_size := env.int("POOL_SIZE", default=0):
    _DATABASE["CONN_MAX_AGE"] = 0
    _DATABASE["OPTIONS"] = {"pool": {"min_size": 1, "max_size": pool_size, "timeout": 30}}
if (patience := env.float("SQLITE_PATIENCE", default=0.0)) > 0:
    _DATABASE["OPTIONS"]["timeout"] = patience

INSTANT_NOTIFICATIONS["MAX_REQUEST_BYTES"] = DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000_000
INSTANT_NOTIFICATIONS["CLAIM_LEASE"] = env.float("CLAIM_LEASE", default=300.0)
INSTANT_NOTIFICATIONS["GATEWAYS"]["paced"] = {
    "BACKEND": "tests.live.gateway.PacedGateway",
    "OPTIONS": {"pause": env.float("GATEWAY_PAUSE", default=0.01), "deliver_after": None},
}

if queue := env.str("CELERY_QUEUE", default=""):
    INSTANT_NOTIFICATIONS["TASK_QUEUE"] = queue
    TASKS = {
        "default": {
            "BACKEND": "instant_notifications.celery.CeleryBackend",
            "QUEUES": [queue],
            "OPTIONS": {"app": "tests.live.celery_app.app"},
        }
    }
