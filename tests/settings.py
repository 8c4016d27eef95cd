"""The example project's settings, hardened for tests: no background thread, fast passwords."""

import os
from pathlib import Path
from tempfile import gettempdir

import pymysql

from example_project.settings import *  # noqa: F403
from example_project.settings import DATABASES, INSTANT_NOTIFICATIONS

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Runs beside each other do not meet. A file, not memory: threads must see each other's commits.
_NAME = f"test_instant_{os.getpid()}"
_KIND = DATABASES["default"]["ENGINE"].rpartition(".")[2]
DATABASES["default"]["TEST"] = {
    "NAME": str(Path(gettempdir()) / f"{_NAME}.sqlite3") if _KIND == "sqlite3" else _NAME
}
DATABASES["default"]["CONN_MAX_AGE"] = 0
# Nothing here outlives a power cut, so no commit waits for the disk; what must is in tests/live.
if _KIND == "sqlite3":
    DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"
elif _KIND == "postgresql":
    del DATABASES["default"]["OPTIONS"]["pool"]
    DATABASES["default"]["OPTIONS"]["options"] = "-c synchronous_commit=off"
elif _KIND == "mysql":
    pymysql.version_info = (2, 2, 7, "final", 0)  # Django asks for mysqlclient's
    pymysql.install_as_MySQLdb()
    DATABASES["default"]["TEST"] |= {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_nopad_bin"}

INSTANT_NOTIFICATIONS["GATEWAYS"]["simulator"]["OPTIONS"] = {"deliver_after": None}
