"""What a measurement prints, and where it is kept: docs/benchmarks.md, a section for each part."""

import argparse
import platform
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import machine

_PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
_HEAD = """\
# Benchmarks

`make bench PART=…` runs a part, prints its tables and puts them in this page. Every side is started by the part
itself, and the sides take turns within each round, so compare within a table and not between two. Figures are medians
of the rounds; brackets hold the least and the most. [Where a request's time goes](performance.md).
"""


class Report:
    """The section of one part, as it grows."""

    def __init__(self, part: str, title: str, text: str) -> None:
        self._part = part
        self._lines = [f"## {title}", "", text, "", _circumstances()]
        print("\n".join(self._lines), flush=True)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table, after an empty line."""
        lines = ["", _row(heads), _row(["---"] * len(heads)), *map(_row, rows)]
        print("\n".join(lines), flush=True)
        self._lines += lines

    def keep(self) -> None:
        """Put the section in the page, in place of the one that was there."""
        page = _PAGE.read_text() if _PAGE.exists() else _HEAD
        begin, end = (f"<!-- {word} {self._part} -->" for word in ("begin", "end"))
        section = "\n".join([begin, *self._lines, end])
        if begin in page:
            page = re.sub(f"{begin}.*{end}", lambda _: section, page, flags=re.DOTALL)
        else:
            page = f"{page}\n{section}\n"
        _PAGE.write_text(page)


def parser(part: str) -> argparse.ArgumentParser:
    """The options that every part has."""
    options = argparse.ArgumentParser(prog=f"bench.{part}")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--keep", action="store_true", help="put the tables in docs/benchmarks.md")
    return options


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _circumstances() -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{day}, Python {platform.python_version()}, {machine.told()}."
