"""The lines that carry the promises, broken one at a time: a named test must see each.

A copy of the source has the one line changed, and the test runs against that copy. What all of `domain` and `service`
is worth to its tests is measured by `make mutation`; see `docs/mutation.md`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import handoff

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = Path(handoff.__path__[0])
_TESTS_FAILED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """In `file` the text `line` becomes `broken`; `test` is what must fail then. Both are parts of one line each.

    A test that takes fixtures of the whole suite `needs_store`, and takes a second longer for it.
    """

    file: str
    line: str
    broken: str
    test: str
    needs_store: bool = False


UNIT: Final = "tests/unit"
MUTANTS: Final[Mapping[str, Mutant]] = {
    "an agent gets one session more than it has slots": Mutant(
        file="domain/presence.py",
        line="return agent.active_sessions < agent.max_sessions",
        broken="return agent.active_sessions <= agent.max_sessions",
        test=f"{UNIT}/test_decide.py::test_a_refusal_answers_the_problem_that_says_why",
    ),
    "a status lasts a millisecond too long": Mutant(
        file="domain/presence.py",
        line="agent.status_expires_at <= now_ms",
        broken="agent.status_expires_at < now_ms",
        test=f"{UNIT}/test_presence.py::test_a_status_lapses_to_offline_in_the_millisecond_it_expires",
    ),
    "anybody may take a session from the agent who has it": Mutant(
        file="domain/rules.py",
        line="if holder is None or request.expected_agent_id == holder or reassign is Reassign.ALWAYS:",
        broken="if holder is None or request.expected_agent_id == holder or reassign:",
        test=f"{UNIT}/test_decide.py::test_a_refusal_answers_the_problem_that_says_why",
    ),
    "nobody looks whether the expected agent has the session": Mutant(
        file="domain/rules.py",
        line="if expected_agent_id is None or expected_agent_id == holder:",
        broken="if expected_agent_id is None or holder is not None:",
        test=f"{UNIT}/test_lifecycle.py"
        "::test_what_cannot_be_done_is_refused_in_a_sentence_and_with_the_session_where_it_is_known",
    ),
    "a session of another stream can be had": Mutant(
        file="domain/rules.py",
        line="if session is None or session.stream_id != request.stream_id:",
        broken="if session is None:",
        test=f"{UNIT}/test_decide.py::test_of_a_session_that_is_out_of_place_nothing_is_recorded",
    ),
    "a key repeats its answer for any request": Mutant(
        file="domain/decide.py",
        line="same = situation.keyed.fingerprint == request.fingerprint()",
        broken="same = True",
        test=f"{UNIT}/test_decide.py::test_a_known_key_with_another_request_is_refused_before_all_else",
    ),
    "a repeat is decided anew": Mutant(
        file="domain/decide.py",
        line="if no is None and situation.holding is not None and _is_with(request.target, situation.session):",
        broken="if False:",
        test=f"{UNIT}/test_decide.py::test_a_repeat_stands_whatever_became_of_the_agent",
    ),
    "the slot of the one who had the session stays taken": Mutant(
        file="domain/decide.py",
        line="changed.append(freed.with_load(freed.active_sessions - 1))",
        broken="changed.append(freed)",
        test=f"{UNIT}/test_decide.py::test_a_won_session_and_its_slot_move_to_the_target_one_version_on",
    ),
    "a close is no new version": Mutant(
        file="domain/lifecycle.py",
        line="version=before.version + 1,",
        broken="version=before.version,",
        test=f"{UNIT}/test_lifecycle.py"
        "::test_a_release_and_a_close_free_the_slot_and_are_recorded_as_transfers_to_nobody",
    ),
    "a message is tried without end": Mutant(
        file="domain/retry.py",
        line="if number >= MAX_ATTEMPTS:",
        broken="if number > MAX_ATTEMPTS:",
        test=f"{UNIT}/test_retry.py::test_twelve_attempts_are_the_last",
    ),
    "a budget grants one call too many": Mutant(
        file="domain/rate.py",
        line="is_granted = len(moments) < rate.limit",
        broken="is_granted = len(moments) <= rate.limit",
        test=f"{UNIT}/test_rate.py::test_calls_are_granted_up_to_the_limit_and_tell_what_is_left",
    ),
    "an expired token is taken": Mutant(
        file="domain/claims.py",
        line='if times.get("exp", math.inf) <= now_s - leeway_s:',
        broken='if times.get("exp", math.inf) <= now_s - 2 * leeway_s:',
        test=f"{UNIT}/test_claims.py::test_a_token_has_expired_when_exp_and_the_leeway_are_over",
    ),
    "link-local addresses may be called": Mutant(
        file="domain/address_policy.py",
        line='("169.254.0.0/16", "a link-local address", "RFC 3927"),',
        broken="",
        test=f"{UNIT}/test_address_policy.py::test_an_address_of_no_public_host_is_refused_in_production",
    ),
    "the queue takes one more than its limit": Mutant(
        file="service/committer.py",
        line="if len(self._waiting) >= self._queue_limit:",
        broken="if len(self._waiting) > self._queue_limit:",
        test=f"{UNIT}/test_committer.py::test_past_the_queues_limit_an_item_is_turned_away_at_once",
    ),
    "one app's secret verifies for every app": Mutant(
        file="delivery/signature.py",
        line='b"handoff callback v1:" + app_id.encode() + _FIRST_BLOCK',
        broken='b"handoff callback v1:" + _FIRST_BLOCK',
        test=f"{UNIT}/test_signature.py::test_one_app_cannot_verify_or_forge_for_another",
    ),
    "a commit whose confirmation was lost is made twice": Mutant(
        file="service/transfer.py",
        line="return self._commit(items, is_retry=is_retry or was_lost, is_brief=is_brief)",
        broken="return self._commit(items, is_retry=is_retry, is_brief=is_brief)",
        test="tests/property/test_transfers_machine.py"
        "::test_a_commit_whose_confirmation_was_lost_is_found_again_and_not_made_twice",
        needs_store=True,
    ),
    "two uses of a token in one batch both count": Mutant(
        file="service/used_tokens.py",
        line="first.remove(token)",
        broken="pass",
        test="tests/contract/test_used_tokens.py"
        "::test_the_first_use_of_each_token_counts_within_a_batch_and_across_batches[sqlite]",
        needs_store=True,
    ),
    "a dispatcher that lost its lease decides about the message": Mutant(
        file="store/outbox.py",
        line='.where(_is_this, callbacks.c.state == "sending", callbacks.c.lease_token == bindparam("token"))',
        broken='.where(_is_this, callbacks.c.state == "sending", bindparam("token").is_not(None))',
        test="tests/contract/test_outbox.py::test_a_failure_under_a_lease_that_was_lost_changes_nothing",
        needs_store=True,
    ),
}


def copy_of(source: Path, folder: Path, mutant: Mutant) -> Path:
    """The source in `folder`, the mutant's first line broken. Raises AssertionError where the line is gone."""
    file = folder / "handoff" / mutant.file
    shutil.copytree(source, folder / "handoff", ignore=shutil.ignore_patterns(f"{file.stem}.*.pyc"))
    text = file.read_text()
    assert mutant.line in text, f"{mutant.file} has no longer the line {mutant.line!r}: name what took its place"
    file.write_text(text.replace(mutant.line, mutant.broken, 1))
    return folder


def run(tests: str, source: Path, *, with_fixtures: bool) -> subprocess.CompletedProcess[str]:
    """What pytest says of the tests, against the package in that folder, with no plugin that they do not need."""
    ours = ("COVERAGE_", "PYTEST_", "HANDOFF_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "tests")])}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ["-q", "-x", "-p", "anyio", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    options += [] if with_fixtures else ["--noconftest"]
    program = [sys.executable, "-m", "pytest", *options, tests]
    return subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("broken", MUTANTS)
def test_a_broken_promise_is_seen(broken: str, tmp_path: Path) -> None:
    mutant = MUTANTS[broken]

    said = run(mutant.test, copy_of(SOURCE, tmp_path, mutant), with_fixtures=mutant.needs_store)

    assert said.returncode == _TESTS_FAILED, f"nobody saw that {broken}:\n{said.stdout}{said.stderr}"


def test_the_copy_is_what_is_tested_and_fails_nothing_where_it_is_whole(tmp_path: Path) -> None:
    mutant = MUTANTS["an agent gets one session more than it has slots"]
    whole = Mutant(file=mutant.file, line=mutant.line, broken=mutant.line, test=mutant.test)
    source = copy_of(SOURCE, tmp_path, whole)

    assert run(whole.test, source, with_fixtures=False).returncode == 0
    (source / "handoff/domain/presence.py").write_text("raise ImportError\n")
    assert run(whole.test, source, with_fixtures=False).returncode not in {0, _TESTS_FAILED}


def test_a_line_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = Mutant(file="domain/presence.py", line="return 'no such line'", broken="", test="")

    with pytest.raises(AssertionError, match="has no longer the line"):
        copy_of(SOURCE, tmp_path, gone)
