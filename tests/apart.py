"""Python code in a process of its own, which has imported nothing yet."""

import subprocess
import sys
from typing import Any

from tests.live.harness import ROOT, environment


def run_apart(code: str, **variables: Any) -> "subprocess.CompletedProcess[str]":
    """What it prints; the settings are the example project's."""
    settings = {
        "DATABASE_URL": "sqlite://:memory:",
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(**settings, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
