"""The example project's settings, hardened for tests: no background thread, fast passwords."""

import os
from pathlib import Path
from tempfile import gettempdir

from example_project.settings import *  # noqa: F403
from example_project.settings import DATABASES, INSTANT_NOTIFICATIONS

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Runs beside each other do not meet. A file, not memory: threads must see each other's commits.
_NAME = f"test_instant_{os.getpid()}"
_IS_SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")
DATABASES["default"]["TEST"] = {
    "NAME": str(Path(gettempdir()) / f"{_NAME}.sqlite3") if _IS_SQLITE else _NAME
}
DATABASES["default"]["CONN_MAX_AGE"] = 0
if not _IS_SQLITE:
    del DATABASES["default"]["OPTIONS"]["pool"]

INSTANT_NOTIFICATIONS["GATEWAYS"]["simulator"]["OPTIONS"] = {"deliver_after": None}
