"""When the next gateway is asked, with what it is left, and what the history says of it all."""

import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic, sleep
from typing import Any, Final

import pytest

from instant_notifications import health, http
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways.twilio import TwilioGateway
from instant_notifications.models import Delivery, StatusEvent
from tests.clock import Clock
from tests.gateways.test_link_mobility import BACKEND as LINK
from tests.gateways.test_link_mobility import OPTIONS as LINK_OPTIONS
from tests.gateways.test_link_mobility import TAKEN, replies
from tests.gateways.test_twilio import OPTIONS as TWILIO_OPTIONS
from tests.gateways.test_twilio import Twilio
from tests.outcomes import Do, fails, gateways, in_turn, meanwhile
from tests.stub import SecondGateway, take
from tests.test_dispatch import BOTH, slow_first, sms
from tests.web import Server, Talk, free_port, hangs_up, keeps_silent

Configure = Callable[..., None]
Serve = Callable[[Talk], Server]

DOWN: Final = fails(Unavailable, "down")
ROUTES: Final = {"sms": ["link", "twilio"]}


@pytest.fixture
def both(stub: Any, configure: Configure) -> type[SecondGateway]:
    configure(ROUTES=BOTH)
    return SecondGateway


def raised_by_sending(**message: Any) -> type[Exception] | None:
    try:
        sms(**message)
    except HandoverFailed as failure:
        return type(failure)
    return None


def history(*columns: str) -> list[tuple[Any, ...]]:
    """The lines about gateways, in their order."""
    lines = StatusEvent.objects.exclude(gateway="").order_by("pk")
    return list(lines.values_list(*columns))


ALONE: Final = {"only_this_message": True}
FIRST: Final[dict[str, tuple[Do, str, str]]] = {
    "unavailable": (DOWN, "not_sent", "down"),
    "not this one": (fails(Unavailable, "not this", **ALONE), "not_sent", "not this"),
    "not configured": (fails(NotConfigured, "key"), "not_sent", "not configured"),
    "refused": (fails(Rejected, "21610"), "refused", "21610"),
    "unknown": (fails(OutcomeUnknown, "silence"), "unknown", "silence"),
    "unknown of this one": (fails(OutcomeUnknown, "silence", **ALONE), "unknown", "silence"),
    "bug": (fails(KeyError, "+4799999999"), "unknown", "KeyError at "),
    "time-out": (fails(TimeoutError), "unknown", "TimeoutError at "),
}
RAISED: Final = {"not_sent": None, "refused": Rejected, "unknown": OutcomeUnknown}


@pytest.mark.django_db
@pytest.mark.parametrize(("do", "outcome", "reason"), FIRST.values(), ids=FIRST)
def test_the_next_gateway_is_asked_only_where_nothing_was_sent(
    do: Do, outcome: str, reason: str, stub: Any, both: Any
) -> None:
    stub.do = do
    assert raised_by_sending() is RAISED[outcome]
    goes_on = outcome == "not_sent"
    assert (len(stub.seen), len(both.seen)) == (1, goes_on)
    lines = [("stub", outcome, 1), ("second", "taken", 1)]
    assert history("gateway", "outcome", "attempt") == lines[: 1 + goes_on]
    assert history("gateway_word")[0][0].startswith(reason)


@pytest.mark.django_db
def test_each_call_has_its_line_with_its_time(stub: Any, both: Any) -> None:
    stub.do = meanwhile(lambda: sleep(0.05), DOWN)
    both.do = in_turn(meanwhile(lambda: sleep(0.1), DOWN), take)
    assert raised_by_sending() is Unavailable
    assert raised_by_sending() is None
    assert history("gateway", "outcome", "attempt", "from_status", "to_status") == [
        ("stub", "not_sent", 1, "SMS_Sending", "SMS_Sending"),
        ("second", "not_sent", 1, "SMS_Sending", "SMS_New"),
        ("stub", "not_sent", 2, "SMS_Sending", "SMS_Sending"),
        ("second", "taken", 2, "SMS_Sending", "SMS_Accepted"),
    ]
    times = history("started_at", "duration", "at")
    assert [began for began, _, _ in times] == sorted(began for began, _, _ in times)
    for (began, duration, at), seconds in zip(times, (0.05, 0.1, 0.05, 0), strict=True):
        assert timedelta(seconds=seconds) <= duration < timedelta(seconds=seconds + 0.5)
        assert began + duration - timedelta(milliseconds=5) <= at


@pytest.mark.django_db
def test_a_gateway_that_was_passed_over_has_its_line(stub: Any, both: Any) -> None:
    health.switch_off("second")
    stub.do = DOWN
    assert raised_by_sending() is Unavailable
    lines = [("stub", "not_sent", "down"), ("second", "passed_over", "switched off")]
    told = ("stub", "", "down")
    assert history("gateway", "outcome", "gateway_word") == [*lines, told]


@pytest.mark.django_db
@pytest.mark.parametrize(("late", "outcome"), [(DOWN, "not_sent"), (fails(Rejected), "refused")])
def test_who_speaks_too_late_still_has_a_line(
    late: Do, outcome: str, stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"deduplicates": True}))
    slow_first(stub, outcome=late, others=sms)
    raised_by_sending()
    assert history("attempt", "outcome") == [(2, "taken"), (1, outcome)]
    assert Delivery.objects.get().handover == "taken"


@pytest.mark.django_db
def test_a_gateways_own_time_out_leaves_time_for_the_next(
    stub: Any, both: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"timeout": 0.2}, second={"timeout": 99}), HANDOVER_BUDGET=5)
    stub.do = DOWN
    sms()
    assert stub.seen[0].timeout == 0.2
    assert 4 < both.seen[0].timeout <= 5


@pytest.fixture
def twilio() -> Twilio:
    return Twilio()


def link_and_twilio(link_url: str, twilio_url: str, **link_options: Any) -> dict[str, Any]:
    """The setting, with these servers."""
    link = {**LINK_OPTIONS, "url": link_url, **link_options}
    twilio = {**TWILIO_OPTIONS, "base_url": twilio_url}
    return {
        "link": {"BACKEND": LINK, "OPTIONS": link},
        "twilio": {"BACKEND": f"{TwilioGateway.__module__}.TwilioGateway", "OPTIONS": twilio},
    }


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address where connections are neither accepted nor refused."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


UNREACHED: dict[str, Callable[[Serve, str], str]] = {
    "nobody listens": lambda serve, deaf: f"http://127.0.0.1:{free_port()}/",
    "nobody accepts": lambda serve, deaf: deaf,
    "no such host": lambda serve, deaf: "http://nowhere.invalid/",
    "hangs up before the request": lambda serve, deaf: serve(
        lambda server, connection: connection.close()
    ).url.replace("http:", "https:"),
    "503": lambda serve, deaf: serve(replies(b"", status="503 Not Now")).url,
    "log-on refused": lambda serve, deaf: (
        serve(replies(b"<SESSION><LOGON>FAIL</LOGON></SESSION>")).url
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("own_timeout", [None, 0.3])
@pytest.mark.parametrize("where", UNREACHED.values(), ids=UNREACHED)
def test_when_link_is_down_the_message_goes_by_twilio_once(
    where: Any,
    own_timeout: float | None,
    configure: Configure,
    serve: Serve,
    deaf: str,
    twilio: Twilio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "LONGEST_CONNECT", 3.0 if own_timeout else 0.5)
    made = link_and_twilio(where(serve, deaf), serve(twilio).url, timeout=own_timeout)
    configure(GATEWAYS=made, ROUTES=ROUTES, HANDOVER_BUDGET=2)
    started = monotonic()
    assert sms().status == "SMS_Accepted"
    assert monotonic() - started < 2
    assert Delivery.objects.get().gateway == "twilio"
    assert [form["Body"] for form in twilio.forms] == ["hello"]
    assert history("gateway", "outcome") == [("link", "not_sent"), ("twilio", "taken")]
    assert sms().replayed
    assert len(twilio.forms) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("own_timeout", [None, 0.3])
@pytest.mark.parametrize("talk", [keeps_silent, hangs_up, replies(b"", status="500 Oh")])
def test_what_link_may_have_taken_does_not_go_by_twilio(
    talk: Talk, own_timeout: float | None, configure: Configure, serve: Serve, twilio: Twilio
) -> None:
    server = serve(talk)
    made = link_and_twilio(server.url, serve(twilio).url, timeout=own_timeout)
    configure(GATEWAYS=made, ROUTES=ROUTES, HANDOVER_BUDGET=0.6)
    for _ in range(2):
        assert raised_by_sending() is OutcomeUnknown
    assert (len(server.requests), twilio.paths) == (1, [])
    assert history("gateway", "outcome") == [("link", "unknown")]


# For each lifetime: what the first and, 20 seconds later, the second gateway are told of it.
TOLD: Final = {
    ("link", "twilio"): {60: (60, 40), 89: (60, 69), 90: (60, 70), 100: (60, 80), 150: (120, 130)},
    ("twilio", "link"): {60: (60, 60), 89: (89, 60), 90: (90, 60), 100: (100, 60), 150: (150, 120)},
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("aliases", "lifetime", "told"),
    [(aliases, lifetime, told) for aliases in TOLD for lifetime, told in TOLD[aliases].items()],
)
def test_the_second_is_told_the_life_that_remains(
    aliases: tuple[str, str],
    lifetime: int,
    told: tuple[int, int],
    configure: Configure,
    serve: Serve,
    twilio: Twilio,
    clock: Clock,
) -> None:
    def slowly(talk: Talk) -> Talk:
        def do(server: Server, connection: socket.socket) -> None:
            clock.go(timedelta(seconds=20))
            talk(server, connection)

        return do

    if aliases[0] == "twilio":
        twilio.status = 503
    answer = replies(TAKEN) if aliases[0] == "twilio" else replies(b"", status="503 Not Now")
    link = serve(slowly(answer))
    made = link_and_twilio(link.url, serve(slowly(twilio)).url)
    configure(GATEWAYS=made, ROUTES={"sms": aliases})
    sms(time_to_live=lifetime)
    (minutes,) = re.findall(rb"<TTL>(\d+)</TTL>", link.requests[0])
    heard = {"link": int(minutes) * 60, "twilio": int(twilio.forms[0]["ValidityPeriod"])}
    assert tuple(heard[alias] for alias in aliases) == told
    for alias, passed in zip(aliases, (0, 20), strict=True):
        outlives_by = heard[alias] - (lifetime - passed)
        assert outlives_by < {"link": 60, "twilio": 1}[alias]


@pytest.mark.django_db
def test_connections_are_kept_and_a_failing_gateway_costs_none(
    configure: Configure, serve: Serve, twilio: Twilio
) -> None:
    link = serve(replies(TAKEN))
    made = link_and_twilio(link.url, serve(twilio).url)
    configure(GATEWAYS=made, ROUTES=ROUTES, CIRCUIT_FAILURES=1)
    for number in range(3):
        sms(idempotency_id=f"taken-{number}")
    assert (link.connections, len(link.requests)) == (1, 3)
    health.learn({"link": "HTTP 503"}, {})
    for number in range(3):
        sms(idempotency_id=f"passed-over-{number}")
    assert (link.connections, len(link.requests)) == (1, 3)
    assert len(twilio.forms) == 3
