"""How fast `handoff import` brings sessions in, how fast `handoff export` writes them out, and in how much memory.

`python -m bench.imports` writes a file of sessions and prints a table. See docs/benchmarks.md.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from bench.processes import STORES, fresh_store
from rigs import sample
from rigs.measured import Ran, measured

# Sessions that begin within the same second: the vendor's ids begin with it, and go on at random.
_PER_SECOND = 20
_FIRST_SECOND = 0x65000000


def session(number: int) -> str:
    tail = hashlib.sha256(str(number).encode()).hexdigest()[:16]
    return json.dumps(sample.session(f"{_FIRST_SECOND + number // _PER_SECOND:08x}{tail}"))


def write(file: Path, rows: int) -> None:
    directory = sample.directory(sessions=[])
    del directory["sessions"]
    with file.open("w", encoding="utf-8") as out:
        out.write(json.dumps(directory).removesuffix("}") + ', "sessions": [\n')
        for number in range(rows):
            out.write(session(number) + (",\n" if number + 1 < rows else "\n"))
        out.write("]}\n")


def rounds(database_url: str, file: Path) -> Iterator[tuple[str, Ran]]:
    yield "import, all new", measured(database_url, "import", str(file))
    yield "import again, nothing to change", measured(database_url, "import", str(file))
    yield "export", measured(database_url, "export", str(file.with_suffix(".out")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.imports")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    chosen = parser.parse_args()
    print(f"{chosen.rows:,} sessions in one file, each command whole, from its start to its end\n")
    print("| store | command | seconds | rows per second | CPU of the command | peak memory |")
    print("|---|---|---|---|---|---|")
    for kind in chosen.stores:
        with fresh_store(kind) as (settings, folder):
            file = folder / "directory.json"
            write(file, chosen.rows)
            for name, ran in rounds(settings.database_url, file):
                print(
                    f"| {kind} | {name} | {ran.seconds:.1f} | {chosen.rows / ran.seconds:,.0f} "
                    f"| {ran.cpu_s:.1f} s | {ran.peak_mb:.0f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
