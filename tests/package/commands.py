import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
_OURS: Final = ("DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV", "DATABASE_URL")


def run(words: Sequence[str | Path], at: Path = ROOT, **environment: str) -> str:
    """What the command prints, without anything of this checkout in its way."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    done = subprocess.run(
        words,
        cwd=at,
        env={**kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}"
    return done.stdout
