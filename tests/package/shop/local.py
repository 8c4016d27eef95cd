"""What somebody who tries everything adds to the settings of a new project."""

import django
from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS, SECRET_KEY

# Nothing here outlives a power cut, so no commit waits for the disk.
DATABASES["default"]["OPTIONS"] = {"init_command": "PRAGMA synchronous=OFF"}

ROOT_URLCONF = "shop.addresses"
ALLOWED_HOSTS = ["testserver"]
LANGUAGE_CODE = "nb"
INSTALLED_APPS = [
    *INSTALLED_APPS,
    "anymail",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "instant_notifications",
    "instant_notifications.otp",
    "instant_notifications.simulator",
]

_MAILER = "anymail.backends.test.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": _MAILER}}
else:
    EMAIL_BACKEND = _MAILER

INSTANT_NOTIFICATIONS = {
    "GATEWAYS": {
        "simulator": {
            "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
            "OPTIONS": {"deliver_after": None},
        },
        "mail": {
            "BACKEND": "instant_notifications.gateways.anymail.AnymailGateway",
            "OPTIONS": {"tracking": False},
        },
    },
    "ROUTES": {"sms": ["simulator"], "email": ["mail"]},
    "TOKEN_SIGNING_KEY": SECRET_KEY,
}
