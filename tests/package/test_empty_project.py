"""The wheel in a project that somebody has just begun, on the oldest and the newest it supports."""

import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.package.commands import ROOT, run

UV: Final = (sys.executable, "-m", "uv")
APPS: Final = (
    "instant_notifications_otp",
    "instant_notifications_simulator",
    "instant_notifications",
)


@dataclass(frozen=True)
class Pair:
    """``dependencies`` is which of the versions that we admit are taken."""

    python: str
    django: str
    dependencies: str


PAIRS: Final = (Pair("3.11", "5.2", "lowest-direct"), Pair("3.13", "6.1", "highest"))


@dataclass(frozen=True)
class Project:
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"

    def pip(self, word: str, *words: str | Path) -> str:
        return run([*UV, "pip", word, "--python", self.python, *words])

    def manage(self, *words: str, settings: str = "local") -> str:
        return self.run("manage.py", *words, settings=settings)

    def run(self, *words: str, settings: str = "local") -> str:
        named = {"DJANGO_SETTINGS_MODULE": f"shop.{settings}"}
        return run(
            [self.python, "-W", "error::DeprecationWarning:shop", *words], self.folder, **named
        )

    def tables(self) -> set[str]:
        with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in rows if name.startswith("instant_")}

    def installed(self) -> list[str]:
        return [str(each) for each in self.folder.glob(".venv/lib/*/site-packages/*instant_not*")]


@pytest.fixture(params=PAIRS, ids=lambda pair: f"py{pair.python}-django{pair.django}")
def project(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Project:
    pair: Pair = request.param
    project = Project(tmp_path)
    try:
        python = run([*UV, "python", "find", "--no-project", "--no-python-downloads", pair.python])
    except AssertionError:
        pytest.skip(f"Python {pair.python} is not installed")
    run([*UV, "venv", "--python", python.strip(), tmp_path / ".venv"])
    project.pip(
        *("install", "--resolution", pair.dependencies, f"django~={pair.django}.0", wheel),
        *("-r", ROOT / "pyproject.toml", "--all-extras"),
    )
    run([project.python, "-m", "django", "startproject", "shop", "."], tmp_path)
    shutil.copytree(Path(__file__).parent / "shop", tmp_path / "shop", dirs_exist_ok=True)
    return project


def test_it_is_installed_used_and_taken_out_again(project: Project) -> None:
    project.pip("check")
    project.manage("migrate", "--verbosity=0")
    project.manage("check", "--fail-level=WARNING")
    project.manage("check", "--deploy", "--fail-level=WARNING", settings="deployed")
    project.manage("send_sms", "+4799999999", "Hello from the shop")
    assert "Hello from the shop" in project.manage("simulator_inbox")
    assert "All of it works." in project.run("-m", "shop.visit")

    assert project.tables()
    for app in APPS:
        project.manage("migrate", app, "zero", "--verbosity=0")
    assert project.tables() == set()
    project.pip("uninstall", "django-instant-notifications")
    assert project.installed() == []
    project.manage("check", settings="settings")
