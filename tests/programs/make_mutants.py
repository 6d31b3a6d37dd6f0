"""Makes a copy of the package, in `mutants/`, in which each function of `domain` and `service` can be broken.

`mutmut` does it: every function is there as it is and once for each way in which it is broken, and the environment
says which one is called. What was found before of files that have not changed since stays found.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Final

from mutmut.mutation.file_mutation import mutate_file_contents

SOURCE: Final = Path("src/handoff")
FOLDER: Final = Path("mutants")
NAMES: Final = FOLDER / "names.json"
FOUND: Final = FOLDER / "found.json"
PACKAGES: Final = ("domain", "service")


def main() -> None:
    """Make them anew, with `names.json`: of each module a digest of its text, and its mutants' names."""
    shutil.rmtree(FOLDER / "src", ignore_errors=True)
    shutil.copytree(SOURCE, FOLDER / SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    before = json.loads(NAMES.read_text()) if NAMES.exists() else {}
    names = {}
    for path in sorted(path for package in PACKAGES for path in (SOURCE / package).glob("[a-z]*.py")):
        module = f"handoff.{path.parent.name}.{path.stem}"
        text = path.read_text()
        made = mutate_file_contents(str(path), text)
        (FOLDER / path).write_text(made.code)
        names[module] = [hashlib.sha256(text.encode()).hexdigest(), [f"{module}.{one}" for one in made.mutant_names]]
    NAMES.write_text(json.dumps(names))
    same = {module for module, (digest, _) in names.items() if before.get(module, [""])[0] == digest}
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    FOUND.write_text(json.dumps({one: how for one, how in found.items() if one.rpartition(".")[0] in same}))


if __name__ == "__main__":
    main()
