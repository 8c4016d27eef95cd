"""A client does not wait for its answer."""

import socket
from collections.abc import Callable, Sequence
from threading import Event

import pytest

from tests.live.conftest import Serve
from tests.live.harness import abort, email, gunicorn, shipment_of, states_of, until, uvicorn
from tests.smtp import MailServer, Step, say_when


@pytest.mark.parametrize("leave", [socket.socket.close, abort], ids=["close", "abort"])
@pytest.mark.parametrize("command", [gunicorn(), uvicorn()], ids=["gunicorn", "uvicorn"])
def test_the_mail_is_sent_once_and_recorded(
    serve: Serve,
    mail_server: MailServer,
    by_mail: dict[str, str],
    command: Sequence[str],
    leave: Callable[[socket.socket], None],
) -> None:
    service, gate = serve(command, **by_mail), Event()
    mail_server.on(Step.DOT, say_when(gate, "250 taken"))
    connection = service.begin("email", email("id-1"))
    mail_server.wait_for(Step.DOT)
    leave(connection)
    gate.set()
    until(service.feed, "the record of the hand-over", patience=20)
    repeat = service.post("email", email("id-1"))
    assert repeat.status_code == 200
    assert repeat.headers["Idempotent-Replayed"] == "true"
    assert states_of(service.manifest(shipment_of(repeat))) == (
        "Order_Completed",
        "Email_Succeeded",
    )
    assert mail_server.addressed == ["kari@example.com"]
