"""``sync_status_feed``: what it is told, what it tells, and how it ends."""

import io
import re
import signal
from typing import Any, Final

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from instant_notifications import sync
from instant_notifications.exceptions import NotConfigured, OutcomeUnknown, Unavailable
from instant_notifications.management.commands import sync_status_feed
from instant_notifications.models import FeedCursor, UnmatchedReceipt
from tests.clock import Clock
from tests.test_sync import Configure, FeedGateway, Upstream, strange, theirs, upstream, waiting
from tests.test_upkeep import everything
from tests.test_upkeep_commands import handlers_are_put_back, open_connections, stop, terminal

__all__ = ["open_connections", "upstream"]

pytestmark = pytest.mark.django_db

COMMAND: Final = "sync_status_feed"
NOTHING: Final = (
    "stub: 0 statuses of our messages, 0 of messages we do not know, 0 unreadable; nothing new\n"
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PAUSES", (0.0,) * 3)


def run(*words: str, **named: Any) -> tuple[str, int, str]:
    """What it prints, its exit status, and what it complains about."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(COMMAND, *words, stdout=out, stderr=err, **named)
    except CommandError as failure:
        return out.getvalue(), failure.returncode, str(failure)
    assert err.getvalue() == ""
    return out.getvalue(), 0, ""


def line(known: int = 0, unknown: int = 0, unreadable: int = 0, *, upto: int) -> str:
    told = NOTHING.replace("0 st", f"{known} st").replace("0 of", f"{unknown} of")
    return told.replace("0 un", f"{unreadable} un").replace("nothing new", f"read up to {upto}")


# What it does


def test_it_tells_in_one_line_what_has_come_home(upstream: Upstream) -> None:
    assert run() == (NOTHING, 0, "")
    upstream.add(*map(theirs, waiting(2)), strange())
    assert run() == (line(2, 1, upto=3), 0, "")
    assert run("--gateway", "stub") == (NOTHING, 0, "")


def test_what_could_not_be_used_makes_the_exit_status_one(upstream: Upstream) -> None:
    upstream.add(strange("a"), None, strange("b"))
    told, status, complaint = run()
    assert (told, status) == (line(0, 2, 1, upto=3), 1)
    assert "kept with the unmatched receipts" in complaint
    upstream.items, upstream.oldest = upstream.items[:2], 9
    told, status, _ = run()
    assert told.endswith("0 unreadable, 5 gone before they were read; read up to 8\n")
    assert status == 1


@pytest.mark.parametrize(
    ("words", "unknown", "upto"),
    [
        ("--from-seq=0", 4, 4),
        ("--from-seq=3", 1, 4),
        ("--max-pages=1", 1, 3),
        ("--from-seq=0 --max-pages=3", 3, 3),
        ("--from-seq=0 --follow=5 --max-pages=1", 1, 1),
        ("--from-tail", 0, 4),
    ],
)
def test_it_begins_and_ends_where_it_is_told_to(
    words: str, unknown: int, upto: int, upstream: Upstream
) -> None:
    upstream.page_size = 1
    upstream.add(*map(strange, "abcd"))
    assert run("--max-pages=2") == (line(0, 2, upto=2), 0, "")
    assert run(*words.split()) == (line(0, unknown, upto=upto) if unknown else NOTHING, 0, "")
    assert FeedCursor.objects.get().number == upto


@pytest.mark.parametrize(
    "words", [[], ["--from-seq=1"], ["--from-tail"], ["--max-pages=1"]], ids=str
)
def test_a_dry_run_tells_what_a_real_one_then_does_and_changes_nothing(
    words: list[str], upstream: Upstream
) -> None:
    upstream.page_size = 2
    upstream.add(*map(theirs, waiting(2)), None, strange(), strange())
    before = everything()
    dry, status, _ = run("--dry-run", *words)
    assert everything() == before
    assert run(dry_run=True, max_pages=None)[1] == 1
    real = run(*words)
    assert (dry, status) == (f"To do: {real[0]}", real[1])


def test_under_debug_its_statements_are_not_kept(upstream: Upstream, settings: Any) -> None:
    settings.DEBUG, upstream.page_size = True, 1
    upstream.add(*map(strange, "abcdefgh"))
    assert run() == (line(0, 8, upto=8), 0, "")
    assert len(connection.queries) < 30


# What it does not do


@pytest.mark.parametrize(
    "words",
    [
        "--from-tail --from-seq=1",
        "--from-seq=-1",
        f"--from-seq={2**63}",
        "--max-pages=0",
        "--follow=0",
        "--follow=1 --dry-run",
    ],
)
def test_what_makes_no_sense_is_refused(words: str) -> None:
    with pytest.raises(CommandError, match=words.split()[-1].partition("=")[0]):
        call_command(COMMAND, *words.split())


@pytest.mark.parametrize(
    ("aliases", "words", "complaint"),
    [
        ("", [], "0 gateways have a feed to read. Name one in GATEWAYS."),
        ("ab", [], "2 gateways have a feed to read. Name one of a, b with --gateway."),
        ("ab", ["--gateway=plain"], "Gateway 'plain' has no feed that could be read."),
        ("ab", ["--gateway=nobody"], "There is no gateway 'nobody'."),
        ("ab", ["--gateway=b"], ""),
    ],
)
def test_it_must_know_whose_feed_to_read(
    aliases: str, words: list[str], complaint: str, upstream: Upstream, configure: Configure
) -> None:
    feeds = {alias: {"BACKEND": "tests.test_sync.FeedGateway"} for alias in aliases}
    configure(GATEWAYS={"plain": {"BACKEND": "tests.stub.StubGateway"}, **feeds})
    _, status, told = run(*words)
    assert told.startswith(complaint)
    assert status == (2 if complaint else 0)


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (NotConfigured("Renew the token."), r"Renew the token\."),
        (Unavailable("HTTP 503"), r"The feed cannot be read now \(HTTP 503\)\."),
        (OutcomeUnknown("no answer"), r"The feed cannot be read now \(no answer\)\."),
        (OperationalError("Kari"), r"OperationalError at /.+\.py:\d+\.?"),
        (KeyError("Kari"), r"KeyError at /.+\.py:\d+\.?"),
    ],
)
def test_what_it_cannot_read_makes_the_exit_status_two(
    error: Exception, complaint: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells how far it has come, and nothing personal."""
    upstream.page_size = 1
    upstream.add(strange("a"), strange("b"))
    read = upstream.page

    def fail(after: int) -> Any:
        if after:
            raise error
        return read(after)

    monkeypatch.setattr(upstream, "page", fail)
    told, status, complained = run()
    assert (told, status) == ("", 2)
    so_far = re.escape(f" So far: {line(0, 1, upto=1)[6:-1]}.")
    assert re.fullmatch(complaint + ".*" + so_far, complained)


def test_a_second_run_says_that_it_is_the_second_and_leaves(
    upstream: Upstream, clock: Clock
) -> None:
    FeedCursor.objects.create(gateway="stub", holder="x/1/x", held_until=clock.now + sync.HOLD)
    told, status, complaint = run()
    assert (told, status) == ("", 2)
    assert complaint.startswith("Another run is reading this feed. Without a sign of life it ends")


# While it runs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("words", [[], ["--follow=60"]], ids=str)
def test_once_stopped_it_finishes_the_page_in_hand_and_ends_well(
    words: list[str], number: signal.Signals, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.page_size = 2
    upstream.add(*map(strange, "abcde"))
    write = sync._Hold.write

    def stopped(*args: Any) -> Any:
        stop(number)
        return write(*args)

    monkeypatch.setattr(sync._Hold, "write", stopped)
    with handlers_are_put_back():
        assert run(*words) == (line(0, 2, upto=2), 0, "")
    assert (UnmatchedReceipt.objects.count(), FeedCursor.objects.get().holder) == (2, "")


def test_it_can_be_stopped_while_it_asks_for_the_tail(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> int:
        stop()
        raise Unavailable

    monkeypatch.setattr(FeedGateway, "last_number", away)
    assert run("--from-tail") == (NOTHING, 0, "")


@pytest.mark.parametrize(
    ("latest", "steps"),
    [
        (None, ["stub: 2", "stub: 3"]),
        (4, [f"stub: [{'#' * n:<30}] {s}/4" for n, s in ((15, 2), (22, 3))]),
    ],
)
def test_on_a_terminal_it_shows_how_far_it_has_come(
    latest: int | None, steps: list[str], upstream: Upstream
) -> None:
    upstream.page_size, upstream.latest = 2, latest
    upstream.add(*map(strange, "abc"))
    with terminal() as (screen, shown):
        call_command(COMMAND, stdout=screen, stderr=screen)
        assert shown().split("\r\033[K") == ["", *steps, line(0, 3, upto=3)]


@pytest.mark.usefixtures("open_connections")
def test_in_a_shell_its_exit_status_is_the_documented_one(
    upstream: Upstream, capfd: pytest.CaptureFixture[str]
) -> None:
    for said, number in ((None, 9), (strange(), 1)):
        upstream.add(said)
        upstream.latest, status = number, 1 if said is None else 2
        with pytest.raises(SystemExit) as ended:
            sync_status_feed.Command().run_from_argv(["manage.py", COMMAND])
        assert ended.value.code == status
    assert "Traceback" not in capfd.readouterr().err


def test_it_can_ask_for_each_message_instead(upstream: Upstream) -> None:
    ours = waiting(2)
    upstream.add(theirs(ours[0]))
    told = "stub: 1 statuses of our messages, 1 of messages we do not know, 0 unreadable; "
    assert run("--each") == (f"{told}asked one by one\n", 0, "")
    upstream.items.clear()
    assert run("--each", "--max-pages", "1")[1] == 0
    for word in ("--dry-run", "--follow=1"):
        assert run("--each", word)[1] == 2
