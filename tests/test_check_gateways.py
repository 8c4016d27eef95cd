"""``manage.py check_gateways``: OK or exactly what is wrong, and nothing is sent."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any, Final

import pytest
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.core.management import CommandError, call_command
from django.db import OperationalError

from instant_notifications import health
from instant_notifications.exceptions import NotConfigured, OutcomeUnknown, Unavailable
from tests.gateways.test_link_mobility import replies
from tests.gateways.test_twilio import Twilio
from tests.live.harness import ROOT, environment
from tests.outcomes import fails
from tests.stub import StubGateway
from tests.test_failover import link_and_twilio
from tests.web import Server, Talk, free_port, keeps_silent

Configure = Callable[..., None]
Serve = Callable[[Talk], Server]


class ProbedGateway(StubGateway):
    """Does in each probe what a test says."""

    probe = None  # type: ignore[assignment]
    found: tuple[CheckMessage, ...] = ()

    def check(self) -> Iterator[CheckMessage]:
        for each in self.found:
            if not isinstance(each, CheckMessage):
                raise each
            yield each


@pytest.fixture
def probed(stub: Any, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The gateway ``stub``, with a probe that finds it well, in both routes."""
    configure(GATEWAYS={"stub": {"BACKEND": f"{__name__}.ProbedGateway"}})
    monkeypatch.setattr(ProbedGateway, "probe", lambda self, timeout: None)
    monkeypatch.setattr(ProbedGateway, "found", ())
    return ProbedGateway


def check(*words: str) -> tuple[int, list[str]]:
    """The exit status and the lines."""
    out = StringIO()
    try:
        call_command("check_gateways", *words, stdout=out, no_color=True)
    except CommandError as error:
        return error.returncode, out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


PROBES: Final[dict[str, tuple[Any, int, str]]] = {
    "well": (lambda timeout: None, 0, "OK"),
    "not configured": (fails(NotConfigured, "Set the key."), 1, "Set the key."),
    "down": (fails(Unavailable, "HTTP 503"), 1, "would take nothing now: HTTP 503"),
    "down for no reason": (fails(Unavailable), 1, "would take nothing now: Unavailable"),
    "silent": (fails(OutcomeUnknown, "silence"), 1, "would take nothing now: silence"),
    "bug": (fails(KeyError, "secret"), 1, "its check failed: KeyError at "),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("probe", "status", "said"), PROBES.values(), ids=PROBES)
def test_what_a_probe_finds_is_said(probe: Any, status: int, said: str, probed: Any) -> None:
    probed.probe = lambda self, timeout: probe(timeout)
    code, (line,) = check()
    assert (code, line.startswith(f"stub  {said}")) == (status, True)
    assert "secret" not in line
    assert probed.seen == []


@pytest.mark.django_db
def test_what_its_own_check_finds_is_said(probed: Any) -> None:
    probes: list[float] = []
    probed.probe = lambda self, timeout: probes.append(timeout)
    probed.found = (Warning("No receipts."),)
    assert check("--timeout=3") == (0, ["stub  OK", "stub  No receipts."])
    assert probes == [3]
    probed.found = (Error("No key.", hint="Set it."),)
    assert check() == (1, ["stub  No key. Set it."])
    assert probes == [3]


@pytest.mark.django_db
def test_a_check_that_fails_spoils_no_others(probed: Any, configure: Configure) -> None:
    probed.found = (RuntimeError("secret"),)
    well = {"BACKEND": "tests.stub.StubGateway"}
    odd = {**well, "OPTIONS": {"colour": "red"}}
    probed_too = {"BACKEND": f"{__name__}.ProbedGateway"}
    configure(GATEWAYS={"stub": probed_too, "odd": odd, "well": well}, ROUTES={"sms": ["well"]})
    status, lines = check("stub", "odd", "nobody", "well")
    assert status == 1
    assert [line.split("  ")[0].strip() for line in lines] == [
        *("stub", "stub", "odd", "odd", "nobody", "nobody", "well")
    ]
    assert "RuntimeError at " in lines[0]
    assert "secret" not in lines[0]
    assert "colour" in lines[2]
    assert "There is no gateway 'nobody'" in lines[4]
    assert lines[-1] == "well    OK"
    assert check("well")[0] == 0


@pytest.mark.django_db
def test_what_keeps_messages_from_it_is_remarked(
    probed: Any, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(CIRCUIT_FAILURES=1)
    assert check() == (0, ["stub  OK"])
    health.learn({"stub": "HTTP 503"}, {})
    health.switch_off("stub", because="invoice")
    off, failing = "is switched off: invoice", "is passed over after 1 failures: HTTP 503"
    assert check() == (0, ["stub  OK", f"stub  {off}", f"stub  {failing}"])
    configure(CIRCUIT_FAILURES=None, ROUTES={})
    assert check() == (0, ["stub  OK", "stub  is in no route", f"stub  {off}"])
    configure(SANDBOX_RECIPIENTS=[], SANDBOX_GATEWAY="stub")
    assert check() == (0, ["stub  OK", f"stub  {off}"])
    monkeypatch.setattr(health, "states_of", fails(OperationalError))
    assert check() == (0, ["stub  OK", "stub  may be switched off: the database cannot be read"])


@pytest.mark.django_db
def test_real_gateways_are_asked_and_given_nothing(serve: Serve, configure: Configure) -> None:
    link, twilio = serve(replies(b"<SESSION><LOGON>FAIL</LOGON></SESSION>")), Twilio()
    real = link_and_twilio(link.url, serve(twilio).url)
    silent = link_and_twilio(serve(keeps_silent).url, "")["link"]
    down = link_and_twilio(f"http://127.0.0.1:{free_port()}/", "", timeout=5)["link"]
    configure(GATEWAYS={**real, "silent": silent, "down": down}, ROUTES={"sms": real})
    status, lines = check("--timeout=0.5")
    assert (status, lines[1]) == (1, "twilio  OK")
    assert lines[0].startswith("link    LINK refuses the log-on of gateway 'link'")
    assert lines[2].startswith("silent  would take nothing now: ")
    assert lines[4].startswith("down    would take nothing now: ")
    assert not any(b"<MSG>" in each for each in link.requests)
    assert twilio.forms == []


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [([], 0, "simulator  OK"), (["nobody"], 1, "1 of 1 gateways"), (["--timeout=0"], 2, "timeout")],
)
def test_the_exit_status_tells_without_a_database(words: Any, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check_gateways", *words],
        cwd=ROOT,
        env=environment(DATABASE_URL="sqlite:////nowhere/at/all"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
