"""Callbacks as two npm packages sign and judge them (`tests/vectors/README.md`)."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from handoff.delivery.signature import Signer, app_secret, parse_secret, show_secret

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/webhooks.json").read_text())
JUDGED = VECTORS["sent"] + VECTORS["tampered"]
ACCEPTED = {
    "plain",
    "utf_8",
    "shortest_body",
    "large_body",
    "shortest_master",
    "longest_master",
    "real_id",
    "rotation_new_secret",
    "rotation_old_secret",
}

Verifier = Callable[[str, Mapping[str, str], bytes, int], bool]


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def body_of(vector: dict[str, Any]) -> bytes:
    return f"{vector['body']}{' ' * vector['spaces']}".encode()


@pytest.fixture(scope="module")
def is_genuine() -> Verifier:
    """The verifier that the README gives to receivers."""
    (code,) = re.findall(r"```python\n([^`]*def is_genuine.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    verifier: Verifier = names["is_genuine"]
    return verifier


@pytest.mark.parametrize("vector", VECTORS["signed"], ids=named)
def test_a_callback_is_signed_as_the_package_signs_it_with_the_derived_secret(vector: dict[str, Any]) -> None:
    master = parse_secret(vector["master"])

    headers = Signer([master]).headers(
        app_id=vector["app_id"],
        webhook_id=vector["webhook_id"],
        timestamp_s=vector["timestamp_s"],
        body=body_of(vector),
    )

    assert show_secret(app_secret(master, vector["app_id"])) == vector["secret"]
    assert headers["webhook-signature"] == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["sent"], ids=named)
def test_what_the_packages_judged_is_what_is_sent(vector: dict[str, Any]) -> None:
    headers = Signer([parse_secret(master) for master in vector["masters"]]).headers(
        app_id=vector["app_id"],
        webhook_id=vector["headers"]["webhook-id"],
        timestamp_s=int(vector["headers"]["webhook-timestamp"]),
        body=body_of(vector),
    )

    assert headers == vector["headers"]


@pytest.mark.parametrize("vector", JUDGED, ids=named)
def test_the_packages_accept_every_genuine_callback_under_a_live_secret_and_no_other(vector: dict[str, Any]) -> None:
    accepted = {verdict == "accepted" for verdict in vector["verdicts"].values()}

    assert len(vector["verdicts"]) == 2
    assert accepted == {vector["name"] in ACCEPTED}


@pytest.mark.parametrize("vector", JUDGED, ids=named)
def test_the_readmes_verifier_judges_as_the_packages_do(vector: dict[str, Any], is_genuine: Verifier) -> None:
    try:
        is_accepted = is_genuine(vector["secret"], vector["headers"], body_of(vector), 1_700_000_000)
    except (KeyError, ValueError):
        is_accepted = False

    assert {is_accepted} == {verdict == "accepted" for verdict in vector["verdicts"].values()}
