"""What is published: all of the package, nothing else, and a description that can be shown."""

import re
import sys
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from instant_notifications import __version__
from tests.package.commands import ROOT, run

PACKAGE = "instant_notifications/"
NOT_PUBLISHED = (".ci/", ".editorconfig")


@pytest.fixture(scope="module")
def in_the_tree() -> set[str]:
    listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"]).splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(packed.read(name))


def test_the_wheel_has_every_file_of_the_package_and_no_other(
    wheel: Path, in_the_tree: set[str]
) -> None:
    with ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert names == {name for name in in_the_tree if name.startswith(PACKAGE)}
    kinds = {Path(name).suffix for name in names}
    assert {".py", ".html", ".css", ".js", ".mo", ".txt", ".typed"} <= kinds


def test_the_sdist_has_what_the_tests_and_the_documentation_need(
    dist: Path, in_the_tree: set[str]
) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    expected = {name for name in in_the_tree if not name.startswith(NOT_PUBLISHED)}
    assert names - {"", "PKG-INFO"} == expected


def test_the_index_can_show_the_description(dist: Path) -> None:
    run([sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir()])


def test_the_newest_version_of_the_changelog_is_the_one_that_is_built(metadata: Message) -> None:
    versions = re.findall(r"^## (\d\S+) - \d{4}-\d\d-\d\d$", _read("CHANGELOG.md"), re.MULTILINE)
    assert metadata["Version"] == __version__ == versions[0]


def test_the_classifiers_name_the_grid_of_tox(metadata: Message) -> None:
    cells = re.findall(r"py3(\d+)-django(\d)(\d)", _read("tox.ini"))
    named = metadata.get_all("Classifier") or []
    told = {name.rpartition(" ")[2] for name in named if re.search(r" :: \d\.\d+$", name)}
    assert told == {f"3.{minor}" for minor, *_ in cells} | {f"{a}.{b}" for _, a, b in cells}


def _read(name: str) -> str:
    return (ROOT / name).read_text()
