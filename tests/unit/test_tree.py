"""What must not be in the tree: secrets, unpinned requirements, and checks that were silenced without a reason."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[2]
PINNED = ("build.txt", "dev.txt", "mutation.txt", "run.txt")
FOLDERS = ("src", "tests", "docs", "bench", "requirements", ".ci", ".github")

# Text that opens something, wherever it stands.
SECRETS: Final[Mapping[str, re.Pattern[str]]] = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "webhook secret": re.compile(r"whsec_[A-Za-z0-9+/]{24,}"),
    "token": re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}"),
    "password in a URL": re.compile(r"[a-z+]+://[^\s/:@\"'`{}<>\[\]]*:[^\s/@\"'`{}<>\[\]]{4,}@[\w.-]"),
    "cloud key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b"),
    "access token": re.compile(r"\b(?:gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,})"),
    "payment key": re.compile(r"\b[rs]k_(?:live|test)_\w{16,}"),
    "registry token": re.compile(r"\b(?:pypi-AgE[\w-]{20,}|npm_\w{30,})"),
    "secret in code": re.compile(
        r"(?i)\b(?:secret|passw(?:or)?d|api_?key)\w*\s*[:=]\s*[\"'](?!https?:|whsec_)[^\"'\s{}$]{20,}[\"']"
    ),
}

# Those that are there on purpose, and why they open nothing.
HARMLESS: Final[Mapping[str, str]] = {
    "whsec_NyKT09rDulmzERrbBE+UOt02Yg6qtN65A7hHUULtCo8": "derived from the bytes 0 to 31, to check verifiers with",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "the example of the Standard Webhooks specification",
    "http://user:word@e": "a callbackUrl that is refused for having a password",
}
# Tokens and signatures of other libraries, whose keys were thrown away or protect nothing; see the README there.
VECTORS: Final = "tests/vectors/"
OF_VECTORS: Final = frozenset({"token", "webhook secret"})

# One of each, in two parts so that this file holds none.
PLANTED: Final[Mapping[str, tuple[str, str]]] = {
    "private key": ("-----BEGIN RSA PRI", "VATE KEY-----"),
    "webhook secret": ("whsec", "_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    "token": ("eyJhbGciOiJIUzI1NiJ9", ".eyJhcHBJZCI6ImNzLTEifQ.c2lnbmF0dXJlLW9mLWEtdG9rZW4"),
    "password in a URL": ("postgresql://handoff:", "hunter22@db.example/handoff"),
    "cloud key": ("AKIA", "IOSFODNN7EXAMPLE"),
    "access token": ("ghp", "_0123456789abcdefghij0123456789abcdef"),
    "payment key": ("sk_live", "_0123456789abcdefghij"),
    "registry token": ("npm", "_0123456789abcdefghij0123456789abcdef"),
    "secret in code": ("API_KEY = ", "'correct-horse-battery-staple'"),
}


def texts() -> Iterator[tuple[str, str]]:
    """Every file of the tree that is text, by its path."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [path for path in ROOT.iterdir() if path.name not in {".env", ".coverage"}]
    for path in sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts):
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue


def secrets_in(text: str) -> set[tuple[str, str]]:
    """What looks like a secret: its kind and the text itself."""
    hits = ((kind, hit[0]) for kind, pattern in SECRETS.items() for hit in pattern.finditer(text))
    return {(kind, hit) for kind, hit in hits if not any(known in hit for known in HARMLESS)}


def requirements(name: str) -> dict[str, str]:
    """What a file of requirements pins: each package's name and all that is said of it."""
    text = (ROOT / "requirements" / name).read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    return {re.split(r"[=\s;\[]", block)[0]: block for block in blocks if block.strip()}


def asked_for() -> set[str]:
    """What the project and its tools name themselves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for name in ("build.in", "dev.in", "mutation.in"):
        named += [line for line in (ROOT / "requirements" / name).read_text().splitlines() if line[:1] not in {"", "#"}]
    return {re.split(r"[^\w.-]", one)[0].lower() for one in named}


def test_no_secret_is_in_the_tree() -> None:
    found = [
        f"{name}: {kind}: {hit[:60]}"
        for name, text in texts()
        for kind, hit in secrets_in(text)
        if not (name.startswith(VECTORS) and kind in OF_VECTORS)
    ]

    assert found == []


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_of_each_kind_would_be_found(kind: str) -> None:
    assert kind in {found for found, _ in secrets_in(f"x\n{''.join(PLANTED[kind])}\n")}


@pytest.mark.parametrize("name", PINNED)
def test_every_requirement_is_one_version_with_its_hashes(name: str) -> None:
    pinned = requirements(name)

    assert pinned
    for package, block in pinned.items():
        assert re.match(rf"{re.escape(package)}(?:\[[\w,]+\])?==[\w.!+]+(?: ; .+)? \\\n", block), block
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)) >= 1
        assert "://" not in block


def test_what_two_files_of_requirements_pin_is_the_same_in_both() -> None:
    versions: dict[str, set[str]] = {}
    for name in PINNED:
        for package, block in requirements(name).items():
            versions.setdefault(package, set()).add(block.split("==")[1].split()[0])

    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_everything_that_is_asked_for_is_pinned() -> None:
    pinned = {package for name in PINNED for package in requirements(name)}

    assert asked_for() - pinned == set()


def test_every_check_of_security_that_is_silenced_says_why() -> None:
    lines = [
        line.strip()
        for name, text in texts()
        if name.startswith(("src/", "bench/")) and name.endswith(".py")
        for line in text.splitlines()
        if re.search(r"#\s*nosec|#\s*noqa: .*\bS\d{3}", line)
    ]
    skipped = re.findall(r"^ *\"B\d{3}\".*$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert lines
    assert skipped
    assert [line for line in lines if not re.search(r"\bS\d{3} \(.+\)$", line)] == []
    assert [line for line in skipped if "#" not in line] == []
