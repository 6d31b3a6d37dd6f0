"""What `make mutation` has found so far: for each module how many mutants were seen, and how many were not.

A mutant that makes a test fail is seen, and one that makes it go on without end hangs. One in a function that none of
the tests calls is told apart, since another test may call it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tabulate import tabulate

FOUND: Final = Path("mutants/found.json")
NAMES: Final = Path("mutants/names.json")
_COLUMNS: Final = ("seen", "hung", "survived", "not called", "not run")


def counts(names: Mapping[str, tuple[str, Sequence[str]]], found: Mapping[str, str]) -> dict[str, Counter[str]]:
    """How the mutants of each module ended, and those of each package together, which come last."""
    modules = {
        module.removeprefix("handoff."): Counter(found.get(mutant, "not run") for mutant in mutants)
        for module, (_, mutants) in names.items()
        if mutants
    }
    packages = {
        package: sum((ways for name, ways in modules.items() if name.startswith(f"{package}.")), Counter[str]())
        for package in sorted({name.partition(".")[0] for name in modules})
    }
    return modules | packages


def table(found: Mapping[str, Counter[str]]) -> str:
    """The counts, and what share of the mutants that tests called was seen, or hung."""
    rows = [(name, *(ways[column] for column in _COLUMNS), _share(ways)) for name, ways in found.items()]
    return tabulate(rows, headers=("", *_COLUMNS, "score"), tablefmt="github")


def _share(ways: Counter[str]) -> str:
    seen = ways["seen"] + ways["hung"]
    called = seen + ways["survived"]
    return f"{100 * seen / called:.1f} %" if called else ""


if __name__ == "__main__":
    print(table(counts(json.loads(NAMES.read_text()), json.loads(FOUND.read_text()))))
