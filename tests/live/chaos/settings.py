"""The live tests' settings, with two gateways that a campaign disturbs and a clock that it sets."""

from pathlib import Path

from tests.live.chaos import clock
from tests.live.settings import *  # noqa: F403
from tests.live.settings import INSTANT_NOTIFICATIONS, env

clock.follow(Path(env.str("CLOCK")))

INSTANT_NOTIFICATIONS["GATEWAYS"] |= {
    alias: {
        "BACKEND": "tests.live.chaos.gateway.ProviderGateway",
        "OPTIONS": {"url": f"{env.str('PROVIDER_URL')}{alias}"},
    }
    for alias in env.list("SMS_ROUTE")
}
INSTANT_NOTIFICATIONS["CIRCUIT_PAUSE"] = 1.0
INSTANT_NOTIFICATIONS["LIMITS"] = {"creator": None}
