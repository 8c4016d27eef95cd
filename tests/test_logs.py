"""Each event that is logged is in the table, and a program gets at its fields."""

import ast
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from instant_notifications.logs import EVENTS, AddEvent, JsonFormatter, fields_of, read

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "watching.md").read_text()
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
LEVELS = {"exception": logging.ERROR}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger in the package, and where it is."""
    for module in sorted((ROOT / "instant_notifications").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                if node.func.attr in METHODS and isinstance(of, ast.Name) and "log" in of.id:
                    yield f"{module.relative_to(ROOT)}:{node.lineno}", node


def template_of(call: ast.Call) -> str:
    (first, *_) = call.args
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def test_every_call_of_a_logger_is_in_the_table() -> None:
    for where, call in calls():
        event = read(template_of(call))
        assert event is not None, f"{where}: not of the form “some words key=%s”"
        name, fields = event
        assert name in EVENTS, f"{where}: {name!r} is not in logs.EVENTS"
        assert isinstance(call.func, ast.Attribute)
        level = LEVELS.get(call.func.attr) or logging.getLevelName(call.func.attr.upper())
        assert (level, fields) == (EVENTS[name].level, list(EVENTS[name].fields)), where
        assert len(call.args) == 1 + len(fields), where


def test_every_event_of_the_table_is_logged_somewhere() -> None:
    logged = {event[0] for _, call in calls() if (event := read(template_of(call)))}
    assert set(EVENTS) == logged


def test_no_logger_goes_by_another_name() -> None:
    for module in (ROOT / "instant_notifications").rglob("*.py"):
        for line in re.findall(r"^.*getLogger\(.*$", module.read_text(), re.M):
            known = re.match(
                r'logger = logging\.getLogger\("instant_notifications(\.\w+)?"\)', line
            )
            assert known or "_talkative" in line, f"{module}: {line}"


def test_the_table_of_the_page_is_the_code() -> None:
    for name, event in EVENTS.items():
        fields = ", ".join(f"`{field}`" for field in event.fields)
        row = f"| `{name}` | {logging.getLevelName(event.level)} | {event.meaning} | {fields} |"
        assert row in PAGE, f"docs/watching.md lacks this row:\n{row}"
    table = PAGE.split("| Event |")[1].split("\n\n")[0]
    assert len(table.splitlines()) == len(EVENTS) + 2


def record(text: str, *values: object, name: str = "instant_notifications") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, "", 0, text, values, None)


KEY = UUID(int=7)


def test_fields_are_values_not_text() -> None:
    said = record("not taken delivery=%s outcome=%s", KEY, "a = b, c=d e=f")
    assert fields_of(said) == ("not taken", {"delivery": str(KEY), "outcome": "a = b, c=d e=f"})
    said = record("handover gateway=%s attempt=%d duration_ms=%d", "link", 2, 12.5)
    assert fields_of(said)[1] == {"gateway": "link", "attempt": 2, "duration_ms": 12.5}
    assert fields_of(record("condition answered asker=%s met=%s", "n", True))[1]["met"] is True


@pytest.mark.parametrize(
    "said",
    [
        record("GET %s", "/", name="django.request"),
        record("handover gateway=%s", "link", name="instant_notifications_of_others"),
        record("100 % of it, whatever"),
        logging.LogRecord("instant_notifications", 20, "", 0, KEY, None, None),
        logging.LogRecord("instant_notifications", 20, "", 0, "a=%(b)s", ({"b": 1},), None),
    ],
)
def test_what_is_none_of_ours_has_no_event(said: logging.LogRecord) -> None:
    assert fields_of(said) == ("", {})
    assert AddEvent().filter(said)
    assert json.loads(JsonFormatter().format(said))["event"] == ""


def test_a_filter_names_them_for_any_formatter() -> None:
    said = record("gateway switched off gateway=%s", "link")
    assert AddEvent().filter(said)
    text = logging.Formatter("%(event)s %(fields)s %(message)s").format(said)
    assert text == ("gateway switched off {'gateway': 'link'} gateway switched off gateway=link")


def test_a_line_of_json_has_it_all() -> None:
    try:
        raise KeyError(7)
    except KeyError:
        said = record("ciphertext unreadable field=%s", "destination")
        said.exc_info = sys.exc_info()
    line = json.loads(JsonFormatter().format(said))
    assert line.pop("exception").endswith("KeyError: 7")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "INFO",
        "logger": "instant_notifications",
        "event": "ciphertext unreadable",
        "fields": {"field": "destination"},
        "message": "ciphertext unreadable field=destination",
    }


def test_the_settings_of_the_page_write_lines_of_json() -> None:
    (snippet,) = re.findall(r"```python\n(LOGGING.*?)```", PAGE, re.S)
    code = (
        f"import logging.config\n{snippet}\nlogging.config.dictConfig(LOGGING)\n"
        "log = logging.getLogger('instant_notifications.gateways')\n"
        "log.info('gateway switched on gateway=%s', 'link')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line: dict[str, Any] = json.loads(done.stderr)
    assert (line["event"], line["fields"]) == ("gateway switched on", {"gateway": "link"})
