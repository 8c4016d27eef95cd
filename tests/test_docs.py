"""Every snippet and command in README.md and docs/ runs, and every table tells the truth."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.core.management import get_commands

from instant_notifications import tokens
from instant_notifications.api import problems
from instant_notifications.checks import check_deployment, check_settings
from instant_notifications.conf import SETTINGS
from instant_notifications.gateways import Message
from instant_notifications.models import Delivery, FeedEntry
from instant_notifications.orders import send_sms
from instant_notifications.simulator.behaviours import ROWS
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import Channel
from instant_notifications.testing import a_push

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


def test_every_block_says_how_it_is_run() -> None:
    roles = {"settings.py", "production settings.py", "urls.py", "python"}
    for block in blocks():
        known = block.role in roles or block.role.startswith("module: ")
        assert known if block.language == "python" else block.language == "sh", named(block)


@pytest.mark.parametrize(
    "block", [*of_role("settings.py"), *of_role("production settings.py")], ids=named
)
def test_settings_snippets_pass_the_system_checks(block: Block, settings: Any) -> None:
    before = {"GATEWAYS": {"simulator": {}}}
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
    assert [len(resolver.url_patterns) for resolver in namespace["urlpatterns"]] != [0]


@pytest.fixture
def provider() -> Iterator[str]:
    """The address of an imaginary provider that takes everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"reference": "s-1"}')

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_gateway_of_the_guide_sends(provider: str) -> None:
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


def test_the_readme_leads_from_an_empty_project_to_a_sent_message(tmp_path: Path) -> None:
    run = _runner(tmp_path)
    run("django-admin", "startproject", "host", ".")
    for role, name in (("settings.py", "settings.py"), ("urls.py", "urls.py")):
        with (tmp_path / "host" / name).open("a") as file:
            file.write("\n" + "\n".join(block.text for block in of_role(role, "README.md")))
    run("python", "manage.py", "check")
    for page, block in [(b.page, b) for b in blocks() if b.language == "sh"]:
        if page == "README.md" and "manage.py" in block.text and "curl" not in block.text:
            run("sh", "-ec", block.text)
    for block in of_role("python", "README.md"):
        run("python", "manage.py", "shell", "-v", "0", "-c", block.text)
    assert "Your code is 428516" in run("python", "manage.py", "simulator_inbox")


def _runner(folder: Path) -> Any:
    binaries = str(Path(sys.executable).parent)
    environment = {"PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


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
    in_code = set(re.findall(r"\b([EW]\d{3})\b", (package / "checks.py").read_text()))
    for module in (package / "celery.py", *(package / "gateways").glob("*.py")):
        in_code |= set(re.findall(r"instant_notifications\.([EW]\d{3})", module.read_text()))
    page = (ROOT / "docs" / "settings.md").read_text()
    assert set(re.findall(r"instant_notifications\.([EW]\d{3})", page)) == in_code


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
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} → {target}"


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
