"""In a test environment only those on the list get real messages, whatever way a message takes."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from instant_notifications.checks import check_settings
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Unavailable
from instant_notifications.models import Delivery
from instant_notifications.simulator.models import SimulatedMessage
from instant_notifications.statuses import Channel
from tests.conftest import API
from tests.conftest import email as email_request
from tests.conftest import sms as sms_request
from tests.outcomes import Killed, fails, gateways, in_turn, lapse_lease
from tests.stub import SecondGateway, StubGateway, take
from tests.test_dispatch import BOTH, ONCE, email, sms

Configure = Callable[..., None]

SIMULATOR: Final = {
    "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
    "OPTIONS": {"deliver_after": None},
}
NUMBER: Final = "+4799999999"
ADDRESS: Final = "kari@example.com"


class OnlyMail(StubGateway):
    channels = frozenset({Channel.EMAIL})


@pytest.fixture
def sandbox(stub: Any, configure: Configure) -> Callable[..., None]:
    """Two real gateways in each route, and a sandbox with these recipients."""

    def set_up(*recipients: str, stub: Any = None, **changes: Any) -> None:
        configure(
            **{
                "GATEWAYS": {**gateways(stub=stub), "simulator": SIMULATOR},
                "ROUTES": BOTH,
                "SANDBOX_RECIPIENTS": list(recipients),
                **changes,
            }
        )
        assert check_settings(None) == []

    return set_up


def sent_for_real() -> int:
    return len(StubGateway.seen) + len(SecondGateway.seen)


GETS_IT: Final = (
    ("+4799999999", NUMBER),
    ("+47 99 99 99 99", NUMBER),
    ("kari@example.com", ADDRESS),
    ("KARI@example.com", ADDRESS),
    ("kari@EXAMPLE.COM", "Kari@Example.com"),
    ("@example.com", ADDRESS),
    ("@Example.COM", "OLA+shop@EXAMPLE.com"),
    ("@sub.example.com", "kari@sub.example.com"),
    ("@blåbær.no", "kari@BLÅBÆR.no"),
)
LOOKS_ALIKE: Final = (
    ("+479999999", NUMBER),
    ("+47999999990", NUMBER),
    ("+4699999999", NUMBER),
    ("+47", NUMBER),
    ("@example.com", "kari@sub.example.com"),
    ("@sub.example.com", ADDRESS),
    ("@example.com", "kari@example.com.evil.org"),
    ("@example.com", "kari@notexample.com"),
    ("kari@example.com", "kari@example.com.evil.org"),
    ("kari@example.com", "okari@example.com"),
    ("kari@example.com", "kari+x@example.com"),
    ("@blåbær.no", "kari@blabar.no"),
)
FOLDS: Final = (
    ("strasse@example.com", "straße@example.com"),
    ("siri@example.com", "\u017firi@example.com"),
    ("@strasse.de", "kari@straße.de"),
)
"""Equal once Unicode folds their case, and yet not the same mailbox."""


def send_to(recipient: str) -> None:
    if "@" in recipient:
        email(to=recipient)
    else:
        sms(to=recipient)


@pytest.mark.django_db
@pytest.mark.parametrize(("listed", "recipient"), GETS_IT)
def test_who_is_listed_gets_it(listed: str, recipient: str, sandbox: Any) -> None:
    sandbox("+4790000000", listed)
    send_to(recipient)
    assert (sent_for_real(), SimulatedMessage.objects.count()) == (1, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(("listed", "recipient"), [*LOOKS_ALIKE, *FOLDS])
def test_who_only_looks_like_it_does_not(listed: str, recipient: str, sandbox: Any) -> None:
    sandbox(listed)
    send_to(recipient)
    assert (sent_for_real(), SimulatedMessage.objects.count()) == (0, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("send", [sms, email])
def test_an_empty_list_lets_nobody_out(send: Any, sandbox: Any) -> None:
    sandbox()
    send()
    assert send().replayed
    assert (sent_for_real(), Delivery.objects.get().gateway) == (0, "simulator")


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "body"), [("sms", sms_request()), ("email", email_request())])
def test_the_api_is_no_way_out(path: str, body: Any, sandbox: Any, api: Any) -> None:
    sandbox("+4790000000", "@example.org")
    answer = api.post(f"{API}future/orders/instant/{path}", body, format="json")
    assert answer.status_code == 201
    assert (sent_for_real(), SimulatedMessage.objects.count()) == (0, 1)


# What became of a message that went out for real; how it may be sent again.
AGAIN: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "unavailable": (fails(Unavailable), {"ROUTES": {"sms": ["stub"]}}),
    "unknown, sent once": (fails(OutcomeUnknown), {"stub": ONCE}),
    "unknown, sent again": (fails(OutcomeUnknown), {"UNKNOWN_OUTCOME": "resend"}),
    "died, sent once": (fails(Killed), {"stub": ONCE, "ROUTES": {"sms": ["stub"]}}),
    "died, sent again": (fails(Killed), {"UNKNOWN_OUTCOME": "resend"}),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("first", "changes"), AGAIN.values(), ids=AGAIN)
@pytest.mark.parametrize("listed", [True, False])
def test_a_repeat_is_no_way_out(
    listed: bool, first: Any, changes: dict[str, Any], stub: Any, sandbox: Any
) -> None:
    """Somebody takes the recipient off the list before the message is sent again, or does not."""
    stub.do = in_turn(first, take)
    sandbox(NUMBER, **changes)
    with pytest.raises((HandoverFailed, Killed)):
        sms()
    lapse_lease()
    sandbox(*([NUMBER] if listed else []), **changes)
    assert sms().status == "SMS_Accepted"
    assert Delivery.objects.get().gateway == ("stub" if listed else "simulator")
    assert sent_for_real() == 1 + listed


CLOSED: Final[dict[str, Any]] = {
    "missing": {},
    "of another channel": {"box": {"BACKEND": "tests.test_sandbox.OnlyMail"}},
    "cannot be made": {"box": {"BACKEND": "tests.stub.StubGateway", "OPTIONS": {"colour": "red"}}},
}


@pytest.mark.django_db
@pytest.mark.parametrize("box", CLOSED.values(), ids=CLOSED)
def test_without_a_sandbox_gateway_nothing_is_sent(
    box: Any, stub: Any, configure: Configure
) -> None:
    configure(
        GATEWAYS=gateways() | box,
        ROUTES={"sms": ["stub"]},
        SANDBOX_RECIPIENTS=["+4790000000"],
        SANDBOX_GATEWAY="box",
    )
    assert [each.is_serious() for each in check_settings(None)] == [True]
    with pytest.raises(Unavailable):
        sms()
    assert sent_for_real() == 0
    sms(to="+4790000000", idempotency_id="b")
    assert sent_for_real() == 1
