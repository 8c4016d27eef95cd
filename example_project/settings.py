"""Settings from the environment; without any, a local playground on SQLite and the simulator."""

from importlib.util import find_spec
from pathlib import Path

import django
import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_SECRET_KEY = "insecure-for-local-use-only-0123456789abcdefghij"  # noqa: S105 (DEBUG only)

env = environ.Env()

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default=LOCAL_SECRET_KEY)
if not DEBUG and SECRET_KEY == LOCAL_SECRET_KEY:
    raise ImproperlyConfigured(
        "Set SECRET_KEY: with DEBUG=false the key that everybody can read is refused."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", "testserver"])

# Behind a proxy that ends TLS and writes this header itself, whatever a caller has written there.
if env.bool("BEHIND_TLS", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    # The API's own pages, where the extra `openapi` is installed.
    *filter(find_spec, ["drf_spectacular", "drf_spectacular_sidecar"]),
    "instant_notifications",
    "instant_notifications.otp",
    "instant_notifications.simulator",
    "example_project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Many writers: readers never wait (WAL), writers queue up (IMMEDIATE) instead of failing.
    # FULL makes a commit outlive a power cut, which the promise of this app needs.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 9,  # seconds, within the hand-over budget
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Connections belong to the process, not to its threads: none is held while a gateway is talked
    # to, and servers that make a thread for each request (runserver, ASGI) do not use them all up.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        "pool": {"min_size": 1, "max_size": 8, "timeout": 3},
    }

# Nothing is generated from the document of the API, so its enums need no names of their own.
SPECTACULAR_SETTINGS: dict[str, list[str]] = {"POSTPROCESSING_HOOKS": []}

STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "Europe/Oslo"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("nb", "norsk bokmål")]

# Where a mail server is named, mail goes there; without one it is printed on the console.
_EMAIL = env.email_url("EMAIL_URL", default="consolemail://")
DEFAULT_FROM_EMAIL = "no-reply@example.com"
if django.VERSION >= (6, 1):
    _OPTIONS = {
        "host": _EMAIL.get("EMAIL_HOST"),
        "port": _EMAIL.get("EMAIL_PORT"),
        "username": _EMAIL.get("EMAIL_HOST_USER"),
        "password": _EMAIL.get("EMAIL_HOST_PASSWORD"),
        "use_tls": _EMAIL.get("EMAIL_USE_TLS"),
        "use_ssl": _EMAIL.get("EMAIL_USE_SSL"),
    }
    MAILERS = {
        "default": {
            "BACKEND": _EMAIL["EMAIL_BACKEND"],
            "OPTIONS": {name: value for name, value in _OPTIONS.items() if value}
            if _EMAIL["EMAIL_BACKEND"].endswith("smtp.EmailBackend")
            else {},
        }
    }
else:
    vars().update(_EMAIL)

_SIMULATOR = {
    "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
    "OPTIONS": {
        "deliver_after": env.float("SIMULATOR_DELIVER_AFTER", default=1.0),
        "receipts_password": env.str("SIMULATOR_RECEIPTS_PASSWORD", default=""),
    },
}
INSTANT_NOTIFICATIONS = {
    "GATEWAYS": {
        "simulator": _SIMULATOR,
        "standby": _SIMULATOR,  # a second one, for routes that go on where the first is down
        "mail": {"BACKEND": "instant_notifications.gateways.mail.MailGateway"},
    },
    "ROUTES": {
        "sms": env.list("SMS_ROUTE", default=["simulator"]),
        "email": env.list("EMAIL_ROUTE", default=["simulator"]),
    },
    "HANDOVER_BUDGET": env.float("HANDOVER_BUDGET", default=10.0),
    "WAIT_FOR_DUPLICATE": env.float("WAIT_FOR_DUPLICATE", default=None),
    "DEFAULT_SMS_SENDER": "Altinn",
    "TOKEN_SIGNING_KEY": SECRET_KEY,
    "ENCRYPTION_KEYS": env.list("ENCRYPTION_KEYS", default=[]),
    "OTP_COUNTRIES": env.list("OTP_COUNTRIES", default=None),
}

# Another service with Altinn's API, for example a second copy of this project, that sends for us.
if UPSTREAM_URL := env.str("UPSTREAM_URL", default=""):
    INSTANT_NOTIFICATIONS["GATEWAYS"]["upstream"] = {
        "BACKEND": "instant_notifications.gateways.altinn.AltinnGateway",
        "OPTIONS": {"url": UPSTREAM_URL, "token": env.str("UPSTREAM_TOKEN")},
    }

# Who works regular orders off: whoever finds them due, at once; or workers that take tasks from the
# database, or from Redis.
_ENGINES = {
    "database": ("django_tasks_db.DatabaseBackend", "django_tasks_db"),
    "rq": ("django_tasks_rq.RQBackend", "django_rq"),
}
if (_ENGINE := env.str("TASKS_BACKEND", default="immediate")) != "immediate":
    _BACKEND, _APP = _ENGINES[_ENGINE]
    TASKS = {"default": {"BACKEND": _BACKEND}}
    INSTALLED_APPS += [_APP]
RQ_QUEUES = {
    "default": {
        "URL": env.str("REDIS_URL", default="redis://127.0.0.1:6379/0?socket_connect_timeout=2")
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "instant_notifications": {
            "handlers": ["stderr"],
            "level": env.str("LOG_LEVEL", default="INFO"),
        }
    },
}
