"""The same in production, as ``check --deploy`` wants it."""

from secrets import token_urlsafe

from shop.local import *  # noqa: F403
from shop.local import DATABASES, INSTALLED_APPS, INSTANT_NOTIFICATIONS

DEBUG = False
SECRET_KEY = token_urlsafe(50)
ALLOWED_HOSTS = ["shop.example.com"]
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_SSL_REDIRECT = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
PHONENUMBER_DEFAULT_REGION = "NO"
INSTALLED_APPS = [app for app in INSTALLED_APPS if not app.startswith("drf_spectacular")]
DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
INSTANT_NOTIFICATIONS |= {
    "GATEWAYS": {
        "twilio": {
            "BACKEND": "instant_notifications.gateways.twilio.TwilioGateway",
            "OPTIONS": {
                "account_sid": f"AC{32 * '0'}",
                "auth_token": token_urlsafe(16),
                "sender": "Shop",
                "public_url": "https://shop.example.com/notifications/api/v1/",
            },
        },
        "mail": INSTANT_NOTIFICATIONS["GATEWAYS"]["mail"],
    },
    "ROUTES": {"sms": ["twilio"], "email": ["mail"]},
    "TOKEN_SIGNING_KEY": token_urlsafe(50),
    "ENCRYPTION_KEYS": [token_urlsafe(50)],
}
