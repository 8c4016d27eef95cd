"""The example project under each kind of server."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest
import requests

from tests.live.conftest import Serve
from tests.live.harness import (
    ON_SQLITE,
    PATIENCE,
    Database,
    Service,
    at_once,
    email,
    gunicorn,
    runserver,
    shipment_of,
    sms,
    states_of,
    until,
    uvicorn,
)
from tests.smtp import Dialogue, MailServer, Reaction, Step

SERVERS = pytest.mark.parametrize(
    "command", [runserver(), gunicorn(), uvicorn()], ids=["runserver", "gunicorn", "uvicorn"]
)

on_postgresql = pytest.mark.skipif(
    ON_SQLITE, reason="only PostgreSQL has connections to run out of, or to pool"
)


@SERVERS
def test_an_sms_is_delivered(serve: Serve, command: Sequence[str]) -> None:
    service = serve(command, SIMULATOR_DELIVER_AFTER="0.2")
    answer = service.post("sms", sms("id-1"))
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith(f"/future/shipment/{shipment_of(answer)}")
    until(
        lambda: _states(service, shipment_of(answer)) == ("Order_Completed", "SMS_Delivered"),
        "the receipt",
        patience=20,
    )
    (entry,) = service.feed()
    assert (entry["shipmentId"], entry["status"]) == (shipment_of(answer), "Order_Completed")


@SERVERS
def test_ten_equal_requests_at_once_send_one_sms(serve: Serve, command: Sequence[str]) -> None:
    service = serve(command)
    answers = at_once([lambda: service.post("sms", sms("id-1", to="+4799990010"))] * 10)
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.text for answer in answers}) == 1


def _states(service: Service, shipment_id: str) -> tuple[str, str]:
    return states_of(service.manifest(shipment_id))


@SERVERS
def test_without_a_secret_it_does_not_start_in_production(
    command: Sequence[str], database: Database, tmp_path: Path
) -> None:
    service = Service(command, database, "", tmp_path / "log", DEBUG="false")
    del service.environment["SECRET_KEY"]
    try:
        assert service.run().wait(PATIENCE) != 0
    finally:
        service.kill()
    assert "Set SECRET_KEY" in service.said()


@SERVERS
def test_with_a_secret_it_starts_in_production(serve: Serve, command: Sequence[str]) -> None:
    service = serve(command, DEBUG="false")
    assert service.post("sms", sms("id-1")).status_code == 201
    styles = "http://{}:{}/static/admin/css/base.css".format(*service.address)
    assert requests.get(styles, timeout=PATIENCE).headers["Content-Type"].startswith("text/css")


@on_postgresql
@SERVERS
def test_a_stream_of_clients_does_not_use_up_the_database(
    serve: Serve, command: Sequence[str], database: Database
) -> None:
    """Each client comes on a connection of its own; never are more than five here at once."""
    service = serve(command)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda n: service.post("sms", sms(f"id-{n}")), range(60)))
    assert {answer.status_code for answer in answers} == {201}
    most = 17 if command == gunicorn() else 8
    until(lambda: database.connections() <= most, f"at most {most} connections", patience=5)


@on_postgresql
def test_a_pooled_connection_is_free_while_a_gateway_is_talked_to(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str], database: Database
) -> None:
    seen: list[int] = []
    mail_server.on(
        Step.DOT, _answer_when_all_are_here(10, lambda: seen.append(database.connections()))
    )
    service = serve(gunicorn(threads=16), POOL_SIZE="2", **by_mail)
    answers = at_once(
        [lambda n=n: service.post("email", email(f"id-{n}")) for n in range(10)]  # type: ignore[misc]
    )
    assert [answer.status_code for answer in answers] == [201] * 10
    assert len(mail_server.mails) == 10
    assert seen
    assert max(seen) <= 2


def _answer_when_all_are_here(expected: int, look: Callable[[], None]) -> Reaction:
    """Each mail is taken only once so many are in the server's hands at the same time."""
    together = Barrier(expected, action=look)

    def react(dialogue: Dialogue) -> None:
        try:
            together.wait(5)
        except BrokenBarrierError:
            dialogue.say("451 where are the others")
        else:
            dialogue.say("250 taken")

    return react
