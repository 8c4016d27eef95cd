"""Receipts pushed over real connections: cut off, in chunks, to a service that dies."""

import base64
import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import pytest
import requests

from tests.live.conftest import Serve
from tests.live.harness import (
    API,
    ON_SQLITE,
    PATIENCE,
    Database,
    Service,
    abort,
    at_once,
    gunicorn,
    runserver,
    shipment_of,
    sms,
    states_of,
    until,
    uvicorn,
)

COPIES: Final = 46
PASSWORD: Final = "let-me-in"
ACCOUNT: Final = ("simulator", PASSWORD)
OPEN: Final = {"SIMULATOR_RECEIPTS_PASSWORD": PASSWORD}
PATH: Final = f"{API}delivery-reports/simulator"
SILENT: Final = "+4799990007"
"""The simulator reports nothing about it by itself."""


def sent(service: Service, idempotency_id: str) -> tuple[str, str]:
    """A message's shipment, and the reference by which the simulator knows the message."""
    answer = service.post("sms", sms(idempotency_id, to=SILENT))
    assert answer.status_code == 201
    *_, reference = re.findall(r"handover gateway=simulator \S+ reference=(\S+)", service.said())
    return shipment_of(answer), f"sim-{reference}"


def delivered(reference: str) -> dict[str, str]:
    return {"reference": reference, "status": "SMS_Delivered", "word": "DELIVRD"}


def push(service: Service, body: Any) -> requests.Response:
    """The answer to a push; what is neither bytes nor an iterator of bytes goes as JSON."""
    as_it_is = isinstance(body, bytes | Iterator)
    with requests.Session() as session:
        session.trust_env = False
        host, port = service.address
        return session.post(
            f"http://{host}:{port}{PATH}",
            data=body if as_it_is else json.dumps(body),
            auth=ACCOUNT,
            timeout=PATIENCE,
        )


def begin(service: Service, body: bytes, *, length: str) -> socket.socket:
    """Send a push that announces this length, and do not wait for the answer."""
    account = base64.b64encode(":".join(ACCOUNT).encode()).decode()
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Basic {account}",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    connection = socket.create_connection(service.address, timeout=PATIENCE)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def answered(connection: socket.socket) -> int:
    with connection, connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


def feed_of(service: Service) -> list[tuple[str, str]]:
    return [(entry["shipmentId"], entry["recipients"][0]["status"]) for entry in service.feed()]


def test_copies_at_once_to_several_processes_change_nothing(serve: Serve) -> None:
    service = serve(gunicorn(processes=2), **OPEN)
    shipment, reference = sent(service, "id-1")
    answers = at_once([lambda: push(service, delivered(reference))] * COPIES)
    assert {(answer.status_code, answer.content) for answer in answers} == {(204, b"")}
    manifest = service.manifest(shipment)
    assert states_of(manifest) == ("Order_Completed", "SMS_Delivered")
    push(service, [delivered(reference)] * COPIES)
    assert service.manifest(shipment) == manifest
    assert feed_of(service) == [(shipment, "SMS_Delivered")]


@pytest.mark.parametrize("command", [gunicorn(), uvicorn()], ids=["gunicorn", "uvicorn"])
def test_a_push_may_come_in_chunks(serve: Serve, command: Sequence[str]) -> None:
    service = serve(command, **OPEN)
    shipment, reference = sent(service, "id-1")
    raw = json.dumps(delivered(reference)).encode()
    answer = push(service, iter([raw[:10], raw[10:]]))
    assert answer.status_code == 204
    assert feed_of(service) == [(shipment, "SMS_Delivered")]


@pytest.mark.parametrize(
    "command", [runserver(), gunicorn(), uvicorn()], ids=["runserver", "gunicorn", "uvicorn"]
)
def test_a_push_that_is_cut_off_writes_nothing(serve: Serve, command: Sequence[str]) -> None:
    service = serve(command, **OPEN)
    shipment, reference = sent(service, "id-1")
    raw = json.dumps([delivered(reference)]).encode()
    leaving: list[Callable[[socket.socket], None]] = [abort, socket.socket.close, ended]
    for leave in leaving:
        for part in (b"", raw[:1], raw[:-1]):
            leave(begin(service, part, length=str(len(raw))))
    assert answered(begin(service, raw[:-1], length=str(len(raw) - 1))) == 400
    assert states_of(service.manifest(shipment)) == ("Order_Processed", "SMS_Accepted")
    assert push(service, raw).status_code == 204
    assert feed_of(service) == [(shipment, "SMS_Delivered")]
    assert "Internal Server Error" not in service.said()


def ended(connection: socket.socket) -> None:
    """Nothing more will be sent; an answer would be read."""
    connection.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        connection.recv(1)
    connection.close()


@pytest.mark.parametrize(
    "command", [runserver(), gunicorn(), uvicorn()], ids=["runserver", "gunicorn", "uvicorn"]
)
def test_a_length_that_is_no_number_is_the_callers_fault(
    serve: Serve, command: Sequence[str]
) -> None:
    service = serve(command, **OPEN)
    for length in ("abc", "-1", "1.5"):
        assert answered(begin(service, b"{}", length=length)) == 400


def test_a_push_whose_worker_dies_is_completed_by_its_repeat(serve: Serve) -> None:
    service = serve(gunicorn(), **OPEN)
    (first, one), (last, other) = sent(service, "id-1"), sent(service, "id-2")
    strangers = [{"reference": f"nobody's {number}"} for number in range(1_000)]
    receipts = [delivered(one), *strangers, delivered(other)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(push, service, receipts)
        until(lambda: feed_of(service), "the first receipt of many")
        service.kill()
        assert isinstance(answer.exception(PATIENCE), requests.ConnectionError)
    service.start()
    assert feed_of(service) == [(first, "SMS_Delivered")]
    assert push(service, [receipts[0], *strangers[:5], receipts[-1]]).status_code == 204
    assert feed_of(service) == [(first, "SMS_Delivered"), (last, "SMS_Delivered")]


def test_while_the_database_is_away_receipts_come_again(serve: Serve, database: Database) -> None:
    impatient = {"SQLITE_PATIENCE": "0.2"} if ON_SQLITE else {}
    service = serve(gunicorn(), **impatient, **OPEN)
    shipment, reference = sent(service, "id-1")
    with database.taken_away():
        refused = push(service, [delivered(reference), delivered("nobody's")])
    assert (refused.status_code, refused.content) == (503, b"")
    assert int(refused.headers["Retry-After"]) > 0
    until(service.answers, "the database is back")
    assert push(service, [delivered(reference), delivered("nobody's")]).status_code == 204
    assert feed_of(service) == [(shipment, "SMS_Delivered")]
    assert "Traceback" not in service.said()
