"""A worker is killed at each step of a hand-over; what is known afterwards is never a lie."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

import pytest
import requests

from tests.live import harness
from tests.live.apps import Place
from tests.live.harness import Database, Service, email, gunicorn, shipment_of, states_of, until
from tests.smtp import Dialogue, MailServer, Step, running

BUDGET: Final = 5.0
LEASE: Final = 2 * BUDGET
BEFORE_THE_DOT: Final = "before-the-dot"
BEFORE_THE_REPLY: Final = "before-the-reply"
LONG_TEXT: Final = "It is 428516\n" * 400_000
"""More than the buffers between client and server hold, so that its end has not left."""

RESERVED: Final = (
    Place.BEFORE_THE_SEND,
    BEFORE_THE_DOT,
    BEFORE_THE_REPLY,
    Place.BEFORE_THE_RECORD,
    Place.INSIDE_THE_RECORD,
)
"""Where it may have been sent as far as the database knows; the last one last, as it locks."""

ARRIVED: Final = (BEFORE_THE_REPLY, Place.BEFORE_THE_RECORD, Place.INSIDE_THE_RECORD)


@dataclass(frozen=True)
class Aftermath:
    """What came of the messages, by the place at which their worker was killed."""

    within_lease: Mapping[str, requests.Response]
    manifest_within_lease: Mapping[str, Any]
    after_lease: Mapping[str, requests.Response]
    settled_after: Mapping[str, float]
    """Seconds from the first request to the first answer other than 409."""
    manifest: Mapping[str, Any]
    again: Mapping[str, requests.Response]
    mails: Mapping[str, int]
    feed: Any
    log: str


def message_for(place: str) -> Any:
    body = LONG_TEXT if place == BEFORE_THE_DOT else "It is 428516"
    return email(place, to=f"{place}@example.com", body=body)


class HaltingServer(MailServer):
    """Halts in the dialogue where the recipient says so; then reads whatever still comes."""

    def __init__(self) -> None:
        super().__init__(receive_buffer=4096)
        self.killed = Event()
        self.on(Step.TEXT, self.read_on_or_halt)
        self.on(Step.DOT, self.answer_or_halt)

    def read_on_or_halt(self, dialogue: Dialogue) -> None:
        if dialogue.recipients == [f"{BEFORE_THE_DOT}@example.com"]:
            self.killed.wait(harness.PATIENCE)

    def answer_or_halt(self, dialogue: Dialogue) -> None:
        if dialogue.recipients == [f"{BEFORE_THE_REPLY}@example.com"]:
            self.killed.wait(harness.PATIENCE)
        dialogue.say("250 taken")


@pytest.fixture(scope="module")
def halting_server() -> Iterator[HaltingServer]:
    with running(HaltingServer()) as server:
        yield server


@pytest.fixture(scope="module")
def aftermath(
    template: Database, token: str, halting_server: HaltingServer, tmp_path_factory: Any
) -> Iterator[Aftermath]:
    directory = tmp_path_factory.mktemp("crash")
    with harness.copy_of(template, directory) as database:
        service = Service(
            gunicorn(),
            database,
            token,
            directory / "service.log",
            EMAIL_ROUTE="mail",
            EMAIL_URL=halting_server.url,
            HANDOVER_BUDGET=str(BUDGET),
            WAIT_FOR_DUPLICATE="0.1",
            HALT_IN=str(directory),
        )
        try:
            begun = kill_at_every_place(service, halting_server, directory)
            service.start(HALT_IN="")
            yield look_around(service, halting_server, begun)
        finally:
            service.kill()


def kill_at_every_place(
    service: Service, server: HaltingServer, directory: Path
) -> Mapping[str, float]:
    """One message is brought to each place; then the service is killed. When each began."""
    begun = {}

    def send(place: str) -> None:
        with suppress(requests.ConnectionError):
            answer = service.post("email", message_for(place))
            pytest.fail(f"{place}: answered {answer.status_code} {answer.text}")

    def reached() -> bool:
        waiting = [place for place in Place if not (directory / place).exists()]
        return waiting in ([], [Place.INSIDE_THE_RECORD])

    service.start()
    with ThreadPoolExecutor(6) as pool:
        sent = []
        for place in (Place.BEFORE_THE_RESERVATION, *RESERVED):
            if place is Place.INSIDE_THE_RECORD:
                until(reached, "every other place", patience=BUDGET)
                server.wait_for(Step.TEXT, times=3, patience=BUDGET)
                server.wait_for(Step.DOT, times=2, patience=BUDGET)
            begun[place] = monotonic()
            sent.append(pool.submit(send, place))
        until((directory / Place.INSIDE_THE_RECORD).exists, "the last place", patience=BUDGET)
        service.kill()
        server.killed.set()
        for each in sent:
            each.result(timeout=harness.PATIENCE)
    assert server.wait_until_all_have_left()
    return begun


def look_around(service: Service, server: HaltingServer, begun: Mapping[str, float]) -> Aftermath:
    def ask(place: str) -> requests.Response:
        return service.post("email", message_for(place))

    def settled(place: str) -> tuple[requests.Response, float]:
        deadline = monotonic() + harness.PATIENCE
        while (answer := ask(place)).status_code == 409:
            assert monotonic() < deadline
        return answer, monotonic() - begun[place]

    def manifest(answer: requests.Response) -> Any:
        return service.manifest(shipment_of(answer))

    within = {place: ask(place) for place in begun}
    manifest_within = {place: manifest(answer) for place, answer in within.items()}
    with ThreadPoolExecutor(len(RESERVED)) as pool:
        after = dict(zip(RESERVED, pool.map(settled, RESERVED), strict=True))
    return Aftermath(
        within_lease=within,
        manifest_within_lease=manifest_within,
        after_lease={place: answer for place, (answer, _) in after.items()},
        settled_after={place: seconds for place, (_, seconds) in after.items()},
        manifest={place: manifest(answer) for place, (answer, _) in after.items()},
        again={place: ask(place) for place in begun},
        mails=Counter(to.partition("@")[0] for to in server.addressed),
        feed=service.feed(),
        log=service.said(),
    )


def test_before_the_reservation_nothing_was_begun_so_it_is_sent(aftermath: Aftermath) -> None:
    place = Place.BEFORE_THE_RESERVATION
    answer = aftermath.within_lease[place]
    assert answer.status_code == 201
    assert states_of(aftermath.manifest_within_lease[place]) == (
        "Order_Completed",
        "Email_Succeeded",
    )
    assert aftermath.again[place].status_code == 200
    assert aftermath.again[place].json() == answer.json()
    assert aftermath.mails[place] == 1


@pytest.mark.parametrize("place", RESERVED)
def test_within_the_lease_it_counts_as_under_way(aftermath: Aftermath, place: str) -> None:
    answer = aftermath.within_lease[place]
    assert (answer.status_code, answer.json()["code"]) == (409, "IN-00002")
    assert answer.headers["Retry-After"] == "1"
    assert states_of(aftermath.manifest_within_lease[place]) == (
        "Order_Processing",
        "Email_Sending",
    )


@pytest.mark.parametrize("place", RESERVED)
def test_the_lease_is_kept_to_its_end(aftermath: Aftermath, place: str) -> None:
    assert aftermath.settled_after[place] >= LEASE


@pytest.mark.parametrize("place", RESERVED)
def test_after_the_lease_it_may_have_been_sent(aftermath: Aftermath, place: str) -> None:
    answer = aftermath.after_lease[place]
    assert (answer.status_code, answer.json()["code"]) == (504, "IN-00003")
    assert int(answer.headers["Retry-After"]) > 0
    assert shipment_of(answer) == shipment_of(aftermath.within_lease[place])
    assert states_of(aftermath.manifest[place]) == ("Order_Processed", "Email_Sending")


@pytest.mark.parametrize("place", RESERVED)
def test_it_is_never_sent_a_second_time(aftermath: Aftermath, place: str) -> None:
    assert aftermath.again[place].status_code == 504
    assert aftermath.mails[place] == (1 if place in ARRIVED else 0)


def test_the_feed_knows_only_what_ended(aftermath: Aftermath) -> None:
    sent = aftermath.within_lease[Place.BEFORE_THE_RESERVATION]
    assert [entry["shipmentId"] for entry in aftermath.feed] == [shipment_of(sent)]


def test_the_log_names_nobody(aftermath: Aftermath) -> None:
    assert "handover gateway=mail" in aftermath.log
    assert "@example.com" not in aftermath.log
    assert "428516" not in aftermath.log
