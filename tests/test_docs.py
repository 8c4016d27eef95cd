"""Every snippet and command in README.md and docs/ runs, and every table tells the truth."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings as django_settings
from django.core import checks
from django.core.management import call_command, get_commands, load_command_class
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from instant_notifications import exceptions, health, orders, otp, recipients, search, tokens
from instant_notifications.api import problems
from instant_notifications.checks import check_deployment, check_settings
from instant_notifications.conf import SETTINGS
from instant_notifications.gateways import Message
from instant_notifications.models import Delivery, FeedEntry
from instant_notifications.orders import send_sms
from instant_notifications.simulator.behaviours import ROWS
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import Channel, OrderStatus
from instant_notifications.testing import a_push
from tests import reference
from tests.web import Server, Talk, free_port, says

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECRET = "insecure-but-long-enough-for-a-test-of-the-docs"

_block = re.compile(r"(?:<!-- (?P<role>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.S)


@dataclass(frozen=True)
class Block:
    page: str
    role: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for found in _block.finditer(page.read_text()):
            yield Block(page.name, found["role"] or "", found["language"], found["text"])


def of_role(role: str, page: str | None = None) -> list[Block]:
    return [each for each in blocks() if each.role == role and page in (None, each.page)]


def named(block: Block) -> str:
    return f"{block.page}:{block.text.splitlines()[0][:40]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    """Also in tables of cron and other blocks that are not run."""
    for name, rest in re.findall(r"manage\.py ([a-z_]+)([^\n`#|]*)", page.read_text()):
        if name not in ("db_worker", "rqworker"):  # of the engines
            command = load_command_class(get_commands()[name], name)
            known = command.create_parser("manage.py", name)._option_string_actions
            assert {*re.findall(r"--[\w-]+", rest)} <= {*known}, (name, rest)


def test_every_block_says_how_it_is_run() -> None:
    roles = {"settings.py", "production settings.py", "urls.py", "python"}
    for block in blocks():
        known = block.role in roles or block.role.startswith("module: ")
        assert known if block.language == "python" else block.language == "sh", named(block)


@pytest.mark.parametrize(
    "block", [*of_role("settings.py"), *of_role("production settings.py")], ids=named
)
def test_settings_snippets_pass_the_system_checks(block: Block, settings: Any) -> None:
    before: dict[str, Any] = {"GATEWAYS": {"simulator": {}}}
    namespace: dict[str, Any] = {
        "INSTALLED_APPS": [],
        "SECRET_KEY": SECRET,
        "INSTANT_NOTIFICATIONS": before,
    }
    exec(block.text, namespace)
    if namespace["INSTANT_NOTIFICATIONS"] is not before:
        settings.INSTANT_NOTIFICATIONS = namespace["INSTANT_NOTIFICATIONS"]
    assert check_settings(None) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("block", of_role("python"), ids=named)
def test_python_snippets_run(block: Block) -> None:
    namespace: dict[str, Any] = {}
    exec(block.text, namespace)
    namespace.clear()  # and with it the receivers of signals


@pytest.mark.parametrize("block", of_role("urls.py"), ids=named)
def test_urls_snippets_have_routes(block: Block) -> None:
    if "anymail" in block.text:
        pytest.importorskip("anymail", reason="the extra `anymail` is not installed")
    namespace: dict[str, Any] = {"urlpatterns": []}
    exec(block.text, namespace)
    added = [getattr(each, "url_patterns", [each]) for each in namespace["urlpatterns"]]
    assert added
    assert all(added)


def test_the_gateway_of_the_guide_sends(serve: Callable[[Talk], Server]) -> None:
    provider = serve(says(body='{"reference": "s-1"}')).url
    (block,) = of_role("module: shout.py")
    namespace: dict[str, Any] = {"__name__": "shout"}
    exec(block.text, namespace)
    gateway = namespace["ShoutGateway"]("shout", url=provider)
    message = Message(
        reference="r", channel=Channel.SMS, destination="+4799999999", body="hi", time_to_live=120
    )
    assert gateway.hand_over(message).gateway_reference == "s-1"
    pushed = {"receipts": [{"reference": "s-1", "state": "arrived"}, {"state": None}]}
    (known, strange) = gateway.read_receipts(a_push(json.dumps(pushed).encode()))
    assert (known.gateway_reference, known.status) == ("s-1", "SMS_Delivered")
    assert strange.status is None
    assert not gateway.authenticates(a_push(b"", headers={"Authorization": "Basic c2hvdXQ6"}))


def shell_lines() -> Iterator[tuple[str, str]]:
    for block in blocks():
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                yield block.page, line


def test_every_command_in_the_docs_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    known = get_commands()
    for page, line in shell_lines():
        for command in re.findall(r"manage\.py (\w+)", line):
            assert command in known, (page, command)
        for target in re.findall(r"^make (\w+)", line):
            assert re.search(rf"^{target}:", makefile, re.M), (page, target)


ELSEWHERE = ("runserver", "migrate", "--loop", "--follow", "sync_status_feed", "import_contacts")
"""Shown by tests of their own: they have no end, or need an upstream or a file."""
ALIASES = {"altinn": "mail"}  # a gateway of the page's settings, and one of the example's


def command_lines() -> Iterator[str]:
    for _, line in shell_lines():
        if "manage.py" in line and not any(each in line for each in ELSEWHERE):
            yield line.removeprefix("TOKEN=$(").removesuffix(")")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("line", sorted({*command_lines()}))
def test_command_lines_run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said, _, command = line.rpartition("python manage.py ")
    monkeypatch.setattr("sys.stdin", StringIO(said.partition('"')[2].partition('"')[0]))
    name, *words = (ALIASES.get(word, word) for word in shlex.split(command))
    call_command(name, *words)


@dataclass(frozen=True)
class Project:
    """A folder, and how to run something there as its owner would."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        binaries = str(Path(sys.executable).parent)
        return {"PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(self, line: str) -> str:
        done = subprocess.run(
            shlex.split(line), cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(f"\n{text}")

    @contextmanager
    def serve(self, line: str) -> Iterator[str]:
        """On a free port of its own; it may take a moment until somebody listens there."""
        address = f"127.0.0.1:{free_port()}"
        words = [*shlex.split(line), "--noreload", address]
        silent = subprocess.DEVNULL
        with subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stdout=silent, stderr=silent
        ) as server:
            try:
                yield f"http://{address}"
            finally:
                server.terminate()


def test_the_first_code_takes_ten_minutes(tmp_path: Path) -> None:
    """Of a person. What the page says is done, from an empty folder to a code that is verified."""
    page, project = "first-code.md", Project(tmp_path)
    shell = [b.text.splitlines() for b in blocks() if (b.page, b.language) == (page, "sh")]
    [[install, start], [migrate, serve], [read]] = shell
    assert install == "pip install django-instant-notifications"  # this checkout stands in for it
    project.run(start)
    for name in ("settings.py", "urls.py"):
        (block,) = of_role(name, page)
        project.append(f"mysite/{name}", block.text)
    project.run(migrate)
    with project.serve(serve) as url, a_visitor() as visitor:
        asked = submit(visitor, visitor.get(f"{url}/login/"), recipient="+47 999 99 999")
        code = re.search(r"\b\d{6}\b", project.run(read))
        assert code, asked.text
        assert submit(visitor, asked, code=code[0]).text == "Logged in as +4799999999."


@contextmanager
def a_visitor() -> Iterator[requests.Session]:
    """Who tries again until the server is up."""
    patience = Retry(connect=240, read=0, backoff_factor=0.1, backoff_max=0.5)
    with requests.Session() as visitor:
        visitor.mount("http://", HTTPAdapter(max_retries=patience))
        yield visitor


def submit(visitor: requests.Session, page: requests.Response, **typed: str) -> requests.Response:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token, page.text
    answer = visitor.post(page.url, data={**typed, "csrfmiddlewaretoken": token[1]}, timeout=30)
    answer.raise_for_status()
    return answer


def curl_blocks() -> list[Block]:
    return [block for block in blocks() if block.language == "sh" and "curl" in block.text]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.django_db(transaction=True)
def test_curl_lines_push_a_receipt(live_server: Any, configure: Any) -> None:
    simulator = {
        **django_settings.INSTANT_NOTIFICATIONS["GATEWAYS"]["simulator"],
        "OPTIONS": {"deliver_after": None, "receipts_password": "let-me-in"},
    }
    configure(GATEWAYS={"simulator": simulator})
    sent = send_sms("+4799999999", "hello")
    delivery = Delivery.objects.get(shipment=sent.shipment_id)
    (block,) = [block for block in curl_blocks() if "delivery-reports" in block.text]
    lines = block.text.replace("http://127.0.0.1:8000", live_server.url)
    lines = re.sub(r"sim-[0-9a-f-]{36}", delivery.gateway_reference, lines)
    subprocess.run(["sh", "-ec", lines], check=True)
    delivery.refresh_from_db()
    assert delivery.status == "SMS_Failed_Undelivered"


@pytest.mark.django_db(transaction=True)
def test_the_reader_of_the_guide_follows_the_feed(live_server: Any) -> None:
    (block,) = of_role("module: follow.py")
    namespace: dict[str, Any] = {"__name__": "follow"}
    exec(block.text, namespace)
    url = f"{live_server.url}/notifications/api/v1/future/shipment/feed"
    seen: list[Any] = []
    follow = partial(namespace["follow"], url, tokens.issue("ttd"), handle=seen.append)
    for _ in range(3):
        send_sms("+4799999999", "hello", creator="ttd")
    deliver_due_receipts()
    assert follow(cursor=0) == 3
    assert [entry["sequenceNumber"] for entry in seen] == [1, 2, 3]
    assert follow(cursor=3) == 3
    FeedEntry.objects.filter(sequence_number__lt=3).delete()
    assert follow(cursor=2) == 3
    with pytest.raises(namespace["CursorTooOld"]):
        follow(cursor=1)
    FeedEntry.objects.all().delete()
    assert follow(cursor=3) == 3
    with pytest.raises(namespace["CursorTooOld"]):
        follow(cursor=2)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "block", [b for b in curl_blocks() if "delivery-reports" not in b.text], ids=named
)
def test_curl_lines_send(block: Block, live_server: Any) -> None:
    lines = block.text.replace("http://127.0.0.1:8000", live_server.url)
    lines = re.sub(r"^TOKEN=.*$", f"TOKEN={tokens.issue('ttd')}", lines, flags=re.M)
    done = subprocess.run(["sh", "-ec", lines], capture_output=True, text=True, check=True)
    assert re.search(r'"(shipment|challenge)Id"', done.stdout), done.stdout


def test_the_table_of_settings_is_the_code() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for setting in SETTINGS.values():
        row = f"| `{setting.name}` | `{setting.default!r}` | {setting.meaning} |"
        assert row in page, f"docs/settings.md lacks this row:\n{row}"


def test_every_check_is_documented_and_every_documented_check_exists() -> None:
    package = ROOT / "instant_notifications"
    in_code = _numbers_in(package / "checks.py", r"\b([EW]\d{3})\b")
    for module in (package / "celery.py", *(package / "gateways").glob("*.py")):
        in_code |= _numbers_in(module, r"instant_notifications\.([EW]\d{3})")
    page = ROOT / "docs" / "checks.md"
    assert _numbers_in(page, r"`instant_notifications\.(\w+)`") == in_code
    of_codes = _numbers_in(package / "otp" / "checks.py", r"\{PREFIX\}\.([EWI]\d{3})")
    assert _numbers_in(page, r"`instant_notifications_otp\.(\w+)`") == of_codes


def _numbers_in(file: Path, pattern: str) -> set[str]:
    return set(re.findall(pattern, file.read_text()))


def test_the_commands_are_the_code() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for section in reference.commands():
        assert f"{section}\n" in page, f"docs/commands.md lacks this:\n{section}"
    assert page.count("\n## ") == len([*reference.commands()])


def test_the_status_words_are_the_code() -> None:
    page = (ROOT / "docs" / "statuses.md").read_text()
    for row in reference.statuses():
        assert row in page, f"docs/statuses.md lacks this row:\n{row}"
    assert set(re.findall(r"`(Order_\w+)`", page)) == {*OrderStatus}


IN_ORDERS = (
    *("send_sms", "send_email", "place_order", "Sms", "Email", "Reminder", "read_order"),
    "read_manifest",
    *("cancel_order", "cancel_shipment", "resend", "cancel", "expire", "match", "reveal"),
)
CALLED = (
    *(getattr(orders, name) for name in IN_ORDERS),
    *(recipients.phone, recipients.mailbox, recipients.person, recipients.organisation),
    *(recipients.external, otp.issue, otp.verify, otp.resend),
    *(health.switch_off, health.switch_on),
)


def test_the_python_interface_is_the_code() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    documented = re.findall(r"^(`\w+\(.*\)`)$", page, re.M)
    assert sorted(documented) == sorted(map(reference.signature, CALLED))
    table = "".join(re.findall(r"^\|([^|]+)\|", page.partition("## Exceptions")[2], re.M))
    base = exceptions.NotificationError
    raised = [each for each in vars(exceptions).values() if isinstance(each, type)]
    kinds = {each.__name__ for each in raised if issubclass(each, base) and each is not base}
    assert set(re.findall(r"`(\w+)`", table)) == kinds


@pytest.mark.django_db(transaction=True)
def test_who_asks_to_be_forgotten_is() -> None:
    (block,) = of_role("module: forget.py")
    namespace: dict[str, Any] = {"__name__": "forget"}
    exec(block.text, namespace)
    for number in ("+4799999999", "+4799999998"):
        send_sms(number, "hello")
    assert namespace["forget"]("+4799999999") == 0  # what became of it is not known yet
    deliver_due_receipts()
    assert namespace["forget"]("+4799999999") == 1
    forgotten = Delivery.objects.get(destination_digest="")
    assert (forgotten.destination, forgotten.content) == (None, None)
    assert forgotten.status == "SMS_Delivered"
    assert not search.find("+4799999999")
    assert search.find("+4799999998")


def test_the_table_of_the_simulator_is_the_code() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text()
    rows = re.findall(r"^\| (\d{4}) \| `([\w-]+)` \|", page, re.M)
    assert rows == [(row.digits, row.tag) for row in ROWS]


def test_the_problems_of_the_api_page_are_the_code() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    documented = set(re.findall(r"`((?:NOT|IN)-\d{5})`", page))
    known = {problems.NOT_FOUND, *problems.BY_EXCEPTION.values()}
    assert documented == {problem.code for problem in known}


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^):#]*)(?:#([^)]+))?\)", page.read_text()):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name} → {target}"
            assert not anchor or anchor in anchors_of(there), f"{page.name} → {target}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    """As the code host and the site both make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    shown = set(re.findall(r"(\S+\.md)$", site, re.M))
    made = {"index.md", "changelog.md", "flaws.md", "license.md"}
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert shown == pages | made


def test_the_documented_environment_is_what_the_example_reads() -> None:
    source = (ROOT / "example_project" / "settings.py").read_text()
    page = (ROOT / "docs" / "settings.md").read_text().split("## The example project")[1]
    read = set(re.findall(r'env\.\w+\(\s*"(\w+)"', source))
    first_column = "".join(re.findall(r"^\|([^|]+)\|", page, re.M))
    assert read | {"PORT"} == set(re.findall(r"`([A-Z_]+)`", first_column))


@pytest.mark.django_db
def test_the_example_passes_its_own_checks() -> None:
    assert checks.run_checks() == []
    warnings = {str(message.id).rpartition(".")[2] for message in check_deployment(None)}
    assert "W002" in warnings
    assert django_settings.INSTANT_NOTIFICATIONS["ROUTES"]["sms"] == ["simulator"]
