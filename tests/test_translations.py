"""The console in Norwegian: complete, true to its placeholders, and on every page."""

import ast
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from gettext import GNUTranslations
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import django
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import translation
from django.utils.translation import trans_real

import instant_notifications
from instant_notifications.admin import words
from instant_notifications.admin.drawing import count
from instant_notifications.templatetags.console import when
from tests.console import furnish, templates_of_pages, walk

PACKAGE: Final = Path(instant_notifications.__file__).parent
MAKEFILE: Final = Path(__file__).parents[1] / "Makefile"
CATALOGUE: Final = Path("locale/nb/LC_MESSAGES/django.po")
"""Of the console, with what it says of one-time codes."""
OF_CODES: Final = (
    Path("otp/locale/nb/LC_MESSAGES/django.po"),
    Path("otp/locale/nn/LC_MESSAGES/django.po"),
)
"""For those who get a code."""
CATALOGUES: Final = (CATALOGUE, *OF_CODES)

Entry = Mapping[str, str]
"""What stands behind msgctxt, msgid, msgid_plural, msgstr, msgstr[0] and msgstr[1]."""


def entries(catalogue: Path) -> list[Entry]:
    blocks = catalogue.read_text().split("\n\n")
    return [_entry(block) for block in blocks[1:]]


def _entry(block: str) -> Entry:
    texts: dict[str, str] = {}
    name = ""
    for word, written in re.findall(r'^(?:(msg\S+) )?(".*")$', block, re.M):
        name = word or name
        texts[name] = texts.get(name, "") + ast.literal_eval(written)
    return texts


def _key(entry: Entry) -> str:
    context = f"{entry['msgctxt']}\x04" if "msgctxt" in entry else ""
    return context + entry["msgid"]


def _placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)\w|%[sd%]|\{\w+\}", text))


def _keys(catalogue: Path) -> set[tuple[str, str | None]]:
    return {(_key(each), each.get("msgid_plural")) for each in entries(catalogue)}


def _sources(catalogue: Path) -> set[Path]:
    """The files whose texts it has."""
    lines = re.findall("^#: (.+)$", catalogue.read_text(), re.M)
    root = catalogue.parents[3]
    return {root / each for line in lines for each in line.split()}


ENTRIES: Final = entries(PACKAGE / CATALOGUE)
ORIGINAL_OF: Final = {"msgstr": "msgid", "msgstr[0]": "msgid", "msgstr[1]": "msgid_plural"}

every_catalogue = pytest.mark.parametrize("catalogue", CATALOGUES, ids=str)
with_gettext = pytest.mark.skipif(
    shutil.which("xgettext") is None, reason="gettext is not installed"
)


@every_catalogue
def test_everything_is_translated_and_nothing_by_guess(catalogue: Path) -> None:
    found = entries(PACKAGE / catalogue)
    assert len(found) > (400 if catalogue == CATALOGUE else 30)
    assert [each["msgid"] for each in found if not all(each.values())] == []
    assert "#, fuzzy" not in (PACKAGE / catalogue).read_text()


@every_catalogue
def test_a_translation_has_the_placeholders_of_its_original(catalogue: Path) -> None:
    for entry in entries(PACKAGE / catalogue):
        for name, original in ORIGINAL_OF.items():
            if name in entry:
                assert _placeholders(entry[name]) == _placeholders(entry[original]), entry["msgid"]


@every_catalogue
def test_the_compiled_catalogue_is_that_of_the_source(catalogue: Path) -> None:
    expected: dict[Any, str] = {}
    for each in entries(PACKAGE / catalogue):
        plurals = {(_key(each), n): each.get(f"msgstr[{n}]", "") for n in (0, 1)}
        expected |= plurals if "msgid_plural" in each else {_key(each): each["msgstr"]}
    with (PACKAGE / catalogue).with_suffix(".mo").open("rb") as compiled:
        found = dict(GNUTranslations(compiled)._catalog)  # type: ignore[attr-defined]
    del found[""]
    assert found == expected, "run `make messages`"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package, to have its catalogues made anew."""
    left_out = shutil.ignore_patterns("static", "__pycache__")
    return shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=left_out)


@with_gettext
def test_whatever_is_marked_in_the_source_is_in_the_catalogue(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = re.findall(r"cd (\S+) && \S+ (makemessages .*)", MAKEFILE.read_text())
    assert len(runs) == 2
    for folder, command in runs:
        monkeypatch.chdir(copy.parent / folder)
        call_command(*shlex.split(command), verbosity=0)
    for each in CATALOGUES:
        assert _keys(copy / each) == _keys(PACKAGE / each), "run `make messages`"
    assert _keys(copy / OF_CODES[0]) == _keys(copy / OF_CODES[1])


@with_gettext
def test_each_file_has_its_texts_in_one_catalogue(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_console, of_codes = (_sources(PACKAGE / each) for each in (CATALOGUE, OF_CODES[0]))
    assert of_console & of_codes == set(), "say in the Makefile who reads them"
    known = _keys(PACKAGE / CATALOGUE) | _keys(PACKAGE / OF_CODES[0])
    monkeypatch.chdir(copy)
    call_command("makemessages", locale=["nb"], no_obsolete=True, verbosity=0)
    assert _keys(copy / CATALOGUE) | _keys(copy / OF_CODES[0]) == known


def test_what_both_catalogues_have_is_the_same_in_both() -> None:
    """One catalogue is made of both."""
    of_codes = {_key(each): each for each in entries(PACKAGE / OF_CODES[0])}
    for each in ENTRIES:
        assert of_codes.get(_key(each), each) == each


class Said(HTMLParser):
    """What the content of a page says to people, piece by piece."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.feed(html[html.index('<div id="content"') : html.index("<footer")])

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        attrs = dict(attributes)
        shown = ["title", "aria-label", "placeholder", "alt"]
        shown += ["value"] if attrs.get("type") == "submit" else []
        self.pieces += [attrs[name] or "" for name in shown if name in attrs]


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes out of a catalogue stands in brackets, and all the rest does not."""
    known = {*trans_real.translation("nb")._catalog.keys(), *_of_django()}  # type: ignore[attr-defined]

    def mark(name: str, key: Callable[..., object]) -> None:
        real = getattr(trans_real, name)

        def translated(*asked: Any) -> str:
            return f"⟦{real(*asked)}⟧" if key(*asked) in known else real(*asked)

        monkeypatch.setattr(translation._trans, name, translated)  # type: ignore[attr-defined]

    mark("gettext", lambda text: text)
    mark("ngettext", lambda one, many, number: (one, 0))
    mark("pgettext", lambda context, text: f"{context}\x04{text}")
    mark("npgettext", lambda context, one, many, number: (f"{context}\x04{one}", 0))


def _of_django() -> Iterator[object]:
    """What Django says by itself, for its own Norwegian has gaps."""
    for catalogue in Path(django.__file__).parent.glob("**/locale/en/LC_MESSAGES/django.po"):
        for entry in entries(catalogue):
            yield (_key(entry), 0) if "msgid_plural" in entry else _key(entry)


def unmarked(html: str) -> Iterator[str]:
    text = "\n".join(Said(html).pieces)
    while (bare := re.sub("⟦[^⟦⟧]*⟧", "", text)) != text:
        text = bare
    for line in text.splitlines():
        left = DATA.sub("", line).strip(" :…-()")
        if re.search("[A-Za-z]{2}", left) and left not in NAMES:
            yield left


DATA: Final = re.compile(
    r"(SMS|Email|Order)_\w+|[\w*]+@example\.com|(one-time code )?[0-9a-f]{8}-[0-9a-f-]{27}"
    r"|[ :.\d]+UTC"
)
NAMES: Final = {
    *("Id", "GSM-7", "sms, email", "simulator", "standby", "mail", "link", "local", "ola"),
    *("ref-1", "sim", "nobodys-17", "OK", "DELIVRD", "delivered", "bounced"),
    *("A word", "<p>for you</p>", "Your code is 428516", "a complaint", "the invoice"),
    *("the test phone", "NO", "login", "Login", "False", "True"),
    *("Tax return", "It is ready", "Your tax return is ready"),
}
"""What ``furnish`` and the settings write, the gateways' own words, and Django's of its icons."""


@pytest.mark.django_db
def test_no_page_says_anything_that_is_not_translated(marks: None) -> None:
    furnish()
    client = Client(headers={"Accept-Language": "nb-NO,nb;q=0.9,en;q=0.5"})
    client.force_login(User.objects.create_superuser("root"))
    read = set()
    for visit in walk(client, "/admin/"):
        if visit.markup.links and visit.answer.status_code == 200:
            html = visit.answer.content.decode()
            assert list(unmarked(html)) == [], visit.path
            read |= {template.name for template in visit.answer.templates}
            assert '<html lang="nb"' in html
    assert templates_of_pages() <= read


def test_what_django_says_elsewhere_stays_as_it_is() -> None:
    """One catalogue is made of all apps': a text of ours would take the place of Django's."""
    theirs = {}
    for catalogue in Path(django.__file__).parent.glob("**/locale/nb/LC_MESSAGES/django.po"):
        theirs |= {_key(each): each["msgstr"] for each in entries(catalogue) if "msgstr" in each}
    ours = [*ENTRIES, *entries(PACKAGE / OF_CODES[0])]
    both = [each for each in ours if theirs.get(_key(each)) and "msgstr" in each]
    assert {"Home", "All", "Search"} <= {each["msgid"] for each in both}
    for each in both:
        assert each["msgstr"] == theirs[_key(each)], each["msgid"]


def test_times_and_numbers_are_written_as_in_norway() -> None:
    moment = datetime(2026, 11, 21, 19, 59, 25, 123000, tzinfo=UTC)
    with translation.override("nb"):
        assert ">21.11.2026 20:59:25</time>" in when(moment)
        assert words.duration(timedelta(seconds=2.34)) == "2,3 s"
        assert words.duration(timedelta(hours=27)) == "1 d 3 t"
        assert count(12_345) == "12\xa0345"
