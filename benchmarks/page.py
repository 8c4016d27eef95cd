"""``docs/performance.md``: what of it was measured, and its picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.figures import Table
from benchmarks.load import Curves
from benchmarks.picture import drawn

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
PICTURE: Final = PAGE.parent / "pictures" / "latency.svg"
BEGIN: Final = "<!-- What follows was written by `python -m benchmarks --write`. -->"
END: Final = "<!-- The rest was written by hand. -->"


def write(tables: Iterable[Table], curves: Mapping[str, Curves], *, quick: bool) -> None:
    """Put these in the place of what was measured before."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = "\n\n".join([_when(quick), _picture(), *map(markdown, tables)])
    PAGE.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(curves))


def _when(quick: bool) -> str:
    roughly = (
        ", roughly: `--quick` has a tenth of the rows, so it does not judge the goals at 1,000,000"
        if quick
        else ""
    )
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}{roughly}.\n" + "\n".join(
        f"{line}." for line in machine.described()
    )


def _picture() -> str:
    return (
        "![Latency and throughput of ours and of the floor, from 1 to 64 clients]"
        f"({PICTURE.relative_to(PAGE.parent)})"
    )


def markdown(table: Table) -> str:
    """With the columns that have something to say."""
    head = ["", table.ours, table.floor, "ratio", "middle half", "goal", ""]
    rows = [[figure.name, *figure.cells()] for figure in table.figures]
    used = [place for place in range(len(head)) if any(row[place] for row in rows)]
    lines = [[each[place] for place in used] for each in (head, ["---"] * len(head), *rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"### {table.title}", text, *_list(table.remarks)])


def _list(remarks: Sequence[str]) -> Iterator[str]:
    if remarks:
        yield "\n".join(f"* {remark}" for remark in remarks)
