"""One-time codes under many workers at once, and under one that is killed."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.apps import Place
from tests.live.conftest import Serve
from tests.live.harness import PATIENCE, SECRET_KEY, Service, at_once, gunicorn, manage, until
from tests.smtp import MailServer

CHALLENGES = "otp/challenges"
WORKERS = gunicorn(processes=4, threads=8)


def ask(service: Service, to: str = "kari@example.com") -> requests.Response:
    body = {"purpose": "login", "channel": "email", "recipient": to}
    return service.post_to(CHALLENGES, body)


def verify(service: Service, challenge_id: str, code: str) -> requests.Response:
    return service.post_to(f"{CHALLENGES}/{challenge_id}/verify", {"code": code})


def asked(service: Service, mail_server: MailServer) -> tuple[str, str]:
    """A challenge's id, and the code that its recipient got."""
    answer = ask(service)
    assert answer.status_code == 201, answer.text
    (mail,) = mail_server.mails
    found = re.search(r"Your code is (\d{6})", str(mail.data))
    assert found
    return answer.json()["challengeId"], found[1]


def reasons(answers: list[requests.Response]) -> "Counter[str]":
    return Counter(answer.json().get("code", "verified") for answer in answers)


def test_of_fifty_right_answers_at_once_one_is_right(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str]
) -> None:
    service = serve(WORKERS, **by_mail)
    challenge_id, code = asked(service, mail_server)
    said = reasons(at_once([lambda: verify(service, challenge_id, code)] * 50))
    assert len(service.workers("POST")) > 1
    assert said["verified"] == 1
    assert said.keys() <= {"verified", "NO_OTP_FOUND", "TOO_MANY_ATTEMPTS"}
    assert said.total() == 50


def test_a_hundred_guesses_at_once_use_up_three(
    serve: Serve, mail_server: MailServer, by_mail: dict[str, str], tmp_path: Path
) -> None:
    compared = tmp_path / "compared"
    compared.mkdir()
    service = serve(WORKERS, **by_mail, NOTE_COMPARISONS_IN=str(compared))
    challenge_id, code = asked(service, mail_server)
    guesses = [f"{(int(code) + away) % 10**6:06}" for away in range(1, 101)]
    said = reasons(
        at_once([lambda guess=guess: verify(service, challenge_id, guess) for guess in guesses])
    )
    assert len(service.workers("POST")) > 1
    assert len(list(compared.iterdir())) == 3
    assert said.keys() <= {"INVALID_OTP", "TOO_MANY_ATTEMPTS"}
    assert said["INVALID_OTP"] <= 2
    assert said.total() == 100
    assert reasons([verify(service, challenge_id, code)]) == {"TOO_MANY_ATTEMPTS": 1}


@pytest.mark.parametrize(
    ("place", "mails"), [(Place.BEFORE_THE_SEND, 0), (Place.BEFORE_THE_RECORD, 1)]
)
def test_a_worker_that_is_killed_leaves_no_good_code_and_no_way_to_a_second_at_once(
    place: Place,
    mails: int,
    serve: Serve,
    mail_server: MailServer,
    by_mail: dict[str, str],
    tmp_path: Path,
) -> None:
    to = f"{place}@example.com"
    service = serve(gunicorn(), **by_mail, HALT_IN=str(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_in_vain, service, to)
        until((tmp_path / place).exists, "the place", patience=PATIENCE)
        service.kill()
    service.start(HALT_IN="")
    again = ask(service, to)
    assert (again.status_code, again.json()["limit"]) == (429, "OTP_RESEND_PAUSE")
    assert 0 < int(again.headers["Retry-After"]) <= 30
    (left,) = challenges(service)
    assert left["code_hash"] == ""
    assert reasons([verify(service, left["id"], "428516")]) == {"INVALID_OTP": 1}
    assert len(mail_server.addressed) == mails

    challenges(service, "rows.update(created_at='2020-01-01T00:00Z')")
    assert ask(service, to).status_code == 201
    assert {each["state"] for each in challenges(service)} == {"replaced", "open"}
    assert len(mail_server.addressed) == mails + 1


def _in_vain(service: Service, to: str) -> None:
    with suppress(requests.ConnectionError):
        ask(service, to)


def challenges(service: Service, first: str = "") -> Any:
    """The rows, as the database has them."""
    lines = f"""
import json
from instant_notifications.otp.models import Challenge
rows = Challenge.objects.all()
{first}
print(json.dumps(list(rows.values("id", "state", "code_hash")), default=str))
"""
    said = manage(
        *("shell", "-v", "0", "-c", lines), DATABASE_URL=service.database.url, SECRET_KEY=SECRET_KEY
    )
    return json.loads(said)
