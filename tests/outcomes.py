"""What a test can tell the stub gateway to do, and how to look at what came of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.utils import timezone

from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery
from tests.stub import take

Do = Callable[[Message], Receipt]


class Killed(BaseException):
    """The worker dies at this line."""


def fails(kind: type[BaseException], *args: Any, **named: Any) -> Do:
    def do(message: Message) -> Receipt:
        raise kind(*args, **named)

    return do


def in_turn(*steps: Do) -> Do:
    """Another step at each call; one call too many is an error."""
    left = iter(steps)
    return lambda message: next(left)(message)


def meanwhile(happens: Callable[[], Any], then: Do = take) -> Do:
    """Something happens while the gateway has the message."""

    def do(message: Message) -> Receipt:
        happens()
        return then(message)

    return do


def gateways(*, stub: Any = None, second: Any = None) -> dict[str, Any]:
    """The setting, with these options for the two gateways."""
    return {
        "stub": {"BACKEND": "tests.stub.StubGateway", "OPTIONS": stub or {}},
        "second": {"BACKEND": "tests.stub.SecondGateway", "OPTIONS": second or {}},
    }


def lapse_lease() -> None:
    Delivery.objects.exclude(lease_until=None).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )


def expire(*, seconds_ago: float = 1) -> None:
    Delivery.objects.update(expires_at=timezone.now() - timedelta(seconds=seconds_ago))


def rows_left() -> list[str]:
    """The tables of the app and its simulator that are not empty."""
    return [
        model._meta.label
        for model in apps.get_models()
        if model._meta.app_label.startswith("instant_notifications") and model.objects.exists()
    ]
