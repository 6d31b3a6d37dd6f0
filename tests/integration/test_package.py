"""What is installed elsewhere is the whole service."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_wheel_holds_every_module_the_migrations_and_the_type_marker(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("handoff-*.whl")

    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("handoff/")}
    source = ROOT / "src"
    ours = {
        str(path.relative_to(source))
        for path in (source / "handoff").rglob("*")
        if path.is_file() and path.suffix in {".py", ".typed", ".mako"}
    }
    assert packed == ours
    assert "handoff/store/migrations/versions/0001_first_tables.py" in packed


def test_importing_the_package_loads_nothing_of_it() -> None:
    program = "import sys, handoff; print(sorted(n for n in sys.modules if n.startswith(('handoff.', 'fastapi'))))"

    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert loaded == "[]\n"
