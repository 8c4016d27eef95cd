"""The example project's settings as in production, serving our route and the floor's.

Both run in the same processes, on the same database and connections. The console is left out, and
of the middleware all but what gives an answer its length: what a host adds there costs both routes
the same, and would only flatter the ratio.
"""

from example_project.settings import *  # noqa: F403
from example_project.settings import INSTANT_NOTIFICATIONS, env

BENCHMARK_GATEWAY_URL = env.str("BENCHMARK_GATEWAY_URL")
BENCHMARK_UPSTREAM_URL = env.str("BENCHMARK_UPSTREAM_URL")
BENCHMARK_UPSTREAM_TOKEN = "only-for-the-life-of-one-benchmark"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "instant_notifications",
    "instant_notifications.simulator",
    "benchmarks.floor",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "benchmarks.floor.views"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTANT_NOTIFICATIONS = {
    **INSTANT_NOTIFICATIONS,
    "GATEWAYS": {
        "stub": {
            "BACKEND": "benchmarks.gateway.BenchmarkGateway",
            "OPTIONS": {"url": BENCHMARK_GATEWAY_URL},
        },
        "at_once": {"BACKEND": "benchmarks.gateway.AtOnceGateway"},
        "simulator": {
            "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
            "OPTIONS": {"deliver_after": None},
        },
        "upstream": {
            "BACKEND": "instant_notifications.gateways.altinn.AltinnGateway",
            "OPTIONS": {"url": BENCHMARK_UPSTREAM_URL, "token": BENCHMARK_UPSTREAM_TOKEN},
        },
    },
    "ROUTES": {"sms": [env.str("BENCHMARK_ROUTE", default="stub")]},
    "LIMITS": {"creator": (10**9, 60)},  # asked, and never in the way
}
