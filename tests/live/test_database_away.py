"""The database goes away while a gateway has the message."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event
from typing import Final

import pytest
from requests import Response

from tests.live.conftest import Serve
from tests.live.harness import (
    ON_SQLITE,
    Database,
    Service,
    email,
    gunicorn,
    shipment_of,
    states_of,
    until,
)
from tests.smtp import MailServer, Step, say_when

BUDGET: Final = 3.0

on_postgresql = pytest.mark.skipif(
    ON_SQLITE, reason="SQLite has no server whose connections could be cut"
)
on_sqlite = pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL does not lock the whole database")


@contextmanager
def while_the_mail_server_has_it(
    service: Service, mail_server: MailServer, happens: Callable[[], object]
) -> "Iterator[Future[Response]]":
    """The answer to a request that is on its way; something happens before the mail is taken."""
    gate = Event()
    mail_server.on(Step.DOT, say_when(gate, "250 taken"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.post, "email", email("id-1"))
        mail_server.wait_for(Step.DOT)
        happens()
        gate.set()
        yield answer


def settled(service: Service) -> Response:
    """The answer to the same request, once the lease of the first is over."""

    answers: list[Response] = []

    def is_over() -> bool:
        answers.append(service.post("email", email("id-1")))
        return answers[-1].status_code != 409

    until(is_over, "the end of the lease")
    return answers[-1]


def assert_never_sent_again(service: Service, mail_server: MailServer, first: Response) -> None:
    assert (first.status_code, first.json()["code"]) == (504, "IN-00003")
    until(service.answers, "the database is back")
    assert states_of(service.manifest(shipment_of(first))) in [
        ("Order_Processing", "Email_Sending"),
        ("Order_Processed", "Email_Sending"),
    ]
    for repeat in (settled(service), settled(service)):
        assert (repeat.status_code, repeat.json()["code"]) == (504, "IN-00003")
        assert shipment_of(repeat) == shipment_of(first)
    assert states_of(service.manifest(shipment_of(first))) == ("Order_Processed", "Email_Sending")
    assert mail_server.addressed == ["kari@example.com"]
    assert service.feed() == []


@on_postgresql
def test_a_cut_connection_does_not_lose_the_outcome(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str], database: Database
) -> None:
    service = serve(gunicorn(), **by_mail)
    cut: list[int] = []
    with while_the_mail_server_has_it(
        service, mail_server, lambda: cut.append(database.cut_off())
    ) as answer:
        first = answer.result()
    assert cut[0] > 0
    assert first.status_code == 201
    assert states_of(service.manifest(shipment_of(first))) == ("Order_Completed", "Email_Succeeded")
    repeat = service.post("email", email("id-1"))
    assert (repeat.status_code, repeat.json()) == (200, first.json())
    assert mail_server.addressed == ["kari@example.com"]


@on_postgresql
def test_a_database_that_stays_away_leaves_the_outcome_unknown(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str], database: Database
) -> None:
    service = serve(gunicorn(), HANDOVER_BUDGET=str(BUDGET), WAIT_FOR_DUPLICATE="0.1", **by_mail)
    with while_the_mail_server_has_it(service, mail_server, database.lock_out) as answer:
        first = answer.result()
    refused = service.post("email", email("id-2", to="ola@example.com"))
    database.let_in()
    assert refused.status_code == 503
    assert_never_sent_again(service, mail_server, first)


@on_postgresql
@pytest.mark.parametrize("path", ["feed", "01900000-0000-7000-8000-000000000001"])
def test_reading_while_the_database_is_away_is_a_temporary_failure(
    serve: Serve, database: Database, path: str
) -> None:
    service = serve(gunicorn())
    database.lock_out()
    answer = service.get(path)
    database.let_in()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    until(service.answers, "the database is back")


@on_sqlite
def test_a_locked_database_leaves_the_outcome_unknown(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str], database: Database
) -> None:
    service = serve(
        gunicorn(),
        HANDOVER_BUDGET=str(BUDGET),
        WAIT_FOR_DUPLICATE="0.1",
        SQLITE_PATIENCE="0.2",
        **by_mail,
    )
    with closing(sqlite3.connect(database.name, isolation_level=None)) as other:
        lock = other.cursor()
        with while_the_mail_server_has_it(
            service, mail_server, lambda: lock.execute("BEGIN IMMEDIATE")
        ) as answer:
            first = answer.result()
        refused = service.post("email", email("id-2", to="ola@example.com"))
        lock.execute("ROLLBACK")
    assert refused.status_code == 503
    assert_never_sent_again(service, mail_server, first)


@on_sqlite
def test_a_database_locked_for_a_moment_does_not_lose_the_outcome(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str], database: Database
) -> None:
    service = serve(gunicorn(), SQLITE_PATIENCE="0.2", **by_mail)
    with closing(sqlite3.connect(database.name, isolation_level=None)) as other:
        lock = other.cursor()
        with while_the_mail_server_has_it(
            service, mail_server, lambda: lock.execute("BEGIN IMMEDIATE")
        ) as answer:
            until(lambda: "outcome not recorded yet" in service.said(), "a first try in vain")
            lock.execute("ROLLBACK")
            first = answer.result()
    assert first.status_code == 201
    assert states_of(service.manifest(shipment_of(first))) == ("Order_Completed", "Email_Succeeded")
