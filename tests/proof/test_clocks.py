"""A clock that jumps, by minutes to days, forward and back: what depends on it, what does not, and by how much.

The real stores and use cases, by a clock of the test's own. A model beside them tells what may happen.
"""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import delete, select, update

from fakes import FakeClock
from handoff import Settings, load_directory
from handoff.domain.claims import TokenUse
from handoff.domain.model import AgentStatus, Target, TargetKind
from handoff.domain.retry import Attempt, Delivered, judge
from handoff.domain.rules import Reassign
from handoff.outboxes import open_outbox, open_store
from handoff.service.meter import UNMEASURED
from handoff.service.outcomes import Answer
from handoff.service.ports import AttemptResult, ClaimedCallback
from handoff.service.retention import Retention
from handoff.service.transfer import Transfers
from handoff.store import tables as t
from handoff.store.audit import SqlAudit
from handoff.store.retention import SqlRetention
from handoff.stores import open_transfer_store, open_used_tokens
from rigs import facts, sample
from rigs.service import environment

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LEASE: Final = MINUTE
LONGEST_DELAY: Final = DAY + 15 * MINUTE
KEPT: Final = {"delivered": 7 * DAY, "dead": 30 * DAY}

AGENTS: Final = ("a-1", "a-2", "a-3")
SESSIONS: Final = ("s-1", "s-2", "s-3")
HOLDERS: Final = ("one", "two")

sizes = st.sampled_from([SECOND, LEASE - 1, LEASE, 10 * MINUTE, HOUR, 2 * HOUR, DAY, 4 * DAY, 8 * DAY, 40 * DAY])
PROGRAMS: Final = Path(__file__).parents[1] / "programs"
COMPILER: Final = shutil.which("cc")
CALL: Final = replace(facts.CALL, session_id="s-1", target=Target(TargetKind.AGENT, "a-1"))


class ClockIds:
    """UUIDv7 by the clock as the machine makes them: a clock that is behind lets the last time stand, and counts on."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._last_ms = 0
        self._count = 0

    def fresh(self) -> str:
        self._last_ms = max(self._last_ms, self._clock.now_ms())
        self._count += 1
        time = f"{self._last_ms:012x}"
        return f"{time[:8]}-{time[8:]}-7000-8000-{self._count:012x}"


@dataclass(slots=True)
class Held:
    """A message that somebody claimed: until when, and the latest that a reclaim has looked at the clock since."""

    claimed: ClaimedCallback
    until: int
    is_over: bool = False


class Parts:
    """The stores and use cases of one installation, opened once for many runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = open_store(settings)
        self.transfers = open_transfer_store(settings)
        self.outbox = open_outbox(settings)
        self.tokens = open_used_tokens(settings)
        self.retention = SqlRetention(open_store(settings))

    def reset(self) -> None:
        with self.engine.begin() as connection:
            for table in t.metadata.sorted_tables:
                connection.execute(delete(table))
        found = sample.directory(
            agents=[sample.agent(name, maxChatSupport=2) for name in AGENTS],
            sessions=[sample.session(name) for name in SESSIONS],
        )
        load_directory(self.settings, found)

    def rows(self, table: Any) -> list[Mapping[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]

    def set_agent(self, name: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(t.agents).where(t.agents.c.agent_id == name).values(values))

    def close(self) -> None:
        self.transfers.close()
        self.outbox.close()
        self.tokens.close()
        self.retention.close()
        self.engine.dispose()


class Jumping(RuleBasedStateMachine):
    """Everybody goes by one clock, which anything may happen to."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        parts.reset()
        self.clock = FakeClock()
        self.highest = self.clock.now_ms()
        self.settle = Transfers(
            parts.transfers, clock=self.clock, ids=ClockIds(self.clock), reassign=Reassign.ALWAYS, meter=UNMEASURED
        ).settle
        self.retention = Retention(
            store=parts.retention,
            clock=self.clock,
            delivered_ms=KEPT["delivered"],
            dead_ms=KEPT["dead"],
            events_ms=KEPT["delivered"],
        )
        self.held: dict[str, list[Held]] = {holder: [] for holder in HOLDERS}
        self.leases = 0
        self.versions = dict.fromkeys(SESSIONS, 0)
        self.expires: dict[str, int | None] = {}
        self.spent: dict[str, int] = {}
        self.purged_at = 0

    @property
    def now(self) -> int:
        return self.clock.now_ms()

    @rule(by=sizes, is_back=st.booleans())
    def jump(self, by: int, *, is_back: bool) -> None:
        self._go_to(self.now - by if is_back else self.now + by)

    @rule(by=st.integers(0, 30 * SECOND))
    def pass_time(self, by: int) -> None:
        self._go_to(self.now + by)

    @rule(name=st.sampled_from(AGENTS), session=st.sampled_from(SESSIONS), by=st.sampled_from([-1, 0]))
    def assign_as_a_status_ends(self, name: str, session: str, by: int) -> None:
        ends = self.expires.get(name)
        if ends is not None:
            self._go_to(ends + by)
            self.assign(name, session)

    @rule(holder=st.sampled_from(HOLDERS), by=st.sampled_from([-1, 0]))
    def claim_as_a_lease_ends(self, holder: str, by: int) -> None:
        untils = [one.until for held in self.held.values() for one in held if not one.is_over]
        if untils:
            self._go_to(untils[0] + by)
            self.claim(holder, most=3)

    @rule(ahead=st.sampled_from([HOUR, 8 * DAY, 31 * DAY]))
    def purge_while_the_clock_is_ahead(self, ahead: int) -> None:
        was = self.now
        self._go_to(was + ahead)
        self.purge()
        self._go_to(was)

    def _go_to(self, now: int) -> None:
        self.clock.set(now)
        self.highest = max(self.highest, now)

    @rule(name=st.sampled_from(AGENTS), lasts=st.none() | st.integers(1, HOUR))
    def say_available(self, name: str, lasts: int | None) -> None:
        self.expires[name] = None if lasts is None else self.now + lasts
        self.parts.set_agent(name, status=AgentStatus.AVAILABLE.value, status_expires_at=self.expires[name])

    @rule(name=st.sampled_from(AGENTS), session=st.sampled_from(SESSIONS))
    def assign(self, name: str, session: str) -> None:
        """A status ends in the millisecond that it says; the version rises by one with every change of the holder."""
        (answer,) = self.settle([replace(CALL, session_id=session, target=Target(TargetKind.AGENT, name))])

        assert isinstance(answer, Answer)
        ends = self.expires.get(name)
        is_away = ends is not None and ends <= self.now
        if not answer.is_repeat:
            assert (answer.code == "agent_unavailable") is is_away
        if answer.status == 200:
            self.versions[session] += not answer.is_repeat
            assert answer.version == self.versions[session]

    @rule(holder=st.sampled_from(HOLDERS), most=st.integers(1, 3))
    def claim(self, holder: str, most: int) -> None:
        """Nobody is given what somebody else has, but for what a reclaim has found at the end of its lease."""
        self.reclaim()
        self.leases += 1
        claim = self.parts.outbox.claim(
            facts.UpTo(most), now_ms=self.now, lease_ms=LEASE, lease_token=f"lease-{self.leases}"
        )
        for claimed in claim.callbacks:
            assert claimed.callback_id not in self._live()
            self.held[holder].append(Held(claimed, self.now + LEASE))

    def _live(self) -> set[str]:
        return {one.claimed.callback_id for held in self.held.values() for one in held if not one.is_over}

    @rule(holder=st.sampled_from(HOLDERS), status=st.sampled_from([200, 500, 410]), share=st.floats(0, 0.99))
    def finish(self, holder: str, status: int, share: float) -> None:
        if self.held[holder]:
            self._record(self.held[holder].pop(0).claimed, status, share)

    def _record(self, claimed: ClaimedCallback, status: int, share: float = 0) -> None:
        attempt = Attempt(started_at=self.now, duration_ms=5, status=status)
        verdict = judge(attempt, number=claimed.number, expires_at=claimed.expires_at, chance=share)
        self.parts.outbox.record([AttemptResult(claimed=claimed, attempt=attempt, verdict=verdict)], now_ms=self.now)
        if isinstance(verdict, Delivered):
            for one in self._others(claimed.callback_id):
                one.is_over = True

    def _others(self, callback_id: str) -> Iterator[Held]:
        return (one for held in self.held.values() for one in held if one.claimed.callback_id == callback_id)

    @rule(holder=st.sampled_from(HOLDERS))
    def die(self, holder: str) -> None:
        """What a dispatcher had claimed, nobody has any more; it is the store that does not know yet."""
        self.held[holder].clear()

    @rule()
    def reclaim(self) -> None:
        """A lease ends when the clock has come to its end, and not because the clock went back."""
        self.parts.outbox.reclaim(now_ms=self.now)
        for held in self.held.values():
            for one in held:
                one.is_over = one.is_over or one.until <= self.now

    @rule(number=st.integers(1, 3), lasts=st.integers(1, HOUR))
    def spend(self, number: int, lasts: int) -> None:
        """A token counts once, unless its use was forgotten: an hour past its end, by a clock that was ahead."""
        name = f"{number:064x}"
        ends = self.spent.get(name, self.now + lasts)
        if ends <= self.now:
            return  # nobody takes a token that has ended
        is_first = bool(self.parts.tokens.change([TokenUse(sample.ACCOUNT, sample.APP, name, ends)], []))

        assert is_first is (name not in self.spent)
        self.spent[name] = ends

    @rule()
    def purge(self) -> None:
        """What is over for as long as it is kept goes; what waits stays, whatever the clock says."""
        before = {row["callback_id"]: row for row in self.parts.rows(t.callbacks)}
        self.retention.purge()
        self.purged_at = max(self.purged_at, self.now)
        self.spent = {name: ends for name, ends in self.spent.items() if ends >= self.now - HOUR}
        after = {row["callback_id"] for row in self.parts.rows(t.callbacks)}
        for name in before.keys() - after:
            row = before[name]
            assert row["ended_at"] is not None
            assert row["ended_at"] < self.now - KEPT["delivered" if row["state"] == "delivered" else "dead"]

    def teardown(self) -> None:
        self._require_bounds()
        self._require_rules()
        self._deliver_the_rest()

    def _require_bounds(self) -> None:
        """Nothing waits for longer than it would have had the clock stood where it stood at its highest."""
        for row in self.parts.rows(t.callbacks):
            if row["state"] == "pending":
                assert row["due_at"] <= self.highest + LONGEST_DELAY
            if row["state"] == "sending":
                assert row["lease_until"] <= self.highest + LEASE

    def _require_rules(self) -> None:
        kept_since = max(self.purged_at, self.now) - KEPT["delivered"]
        assert SqlAudit(self.parts.engine, self.parts.engine, kept_since=kept_since).violations() == []
        events = self.parts.rows(t.events)
        positions = [row["position"] for row in events]
        assert positions == list(range(positions[0], positions[0] + len(positions))) if positions else True
        ids = [row["transfer_id"] for row in sorted(self.parts.rows(t.transfers), key=lambda row: row["transfer_id"])]
        won = {row["transfer_id"]: row for row in self.parts.rows(t.transfers) if row["status"] == 200}
        for session in SESSIONS:
            of_session = [won[one]["version"] for one in ids if one in won and won[one]["session_id"] == session]
            assert of_session == list(range(1, self.versions[session] + 1))

    def _deliver_the_rest(self) -> None:
        """Once the clock has come to where it was, a lease and the longest delay are all that is waited for."""
        self.held = {holder: [] for holder in HOLDERS}
        self.clock.set(self.highest + LEASE)
        self.parts.outbox.reclaim(now_ms=self.now)
        self.clock.advance(LONGEST_DELAY)
        waiting = [row for row in self.parts.rows(t.callbacks) if row["state"] in {"pending", "sending"}]
        for _ in waiting:
            claim = self.parts.outbox.claim(facts.UpTo(10), now_ms=self.now, lease_ms=LEASE, lease_token="rest")
            for claimed in claim.callbacks:
                self._record(claimed, 200)

        states = {row["state"] for row in self.parts.rows(t.callbacks)}
        assert states <= {"delivered", "dead"}


@pytest.fixture
def parts(database_url: str) -> Iterator[Parts]:
    settings = Settings(database_url=database_url)
    load_directory(settings, sample.directory())
    made = Parts(settings)
    yield made
    made.close()


@pytest.mark.timeout(1_800)
def test_a_clock_that_jumps_breaks_no_rule_and_holds_nothing_up_past_the_time_that_it_was(
    parts: Parts, *, is_long: bool
) -> None:
    class OnStore(Jumping):
        def __init__(self) -> None:
            super().__init__(parts)

    examples = 200 if is_long else 10
    # Each step speaks to a store: to shrink what was found would take minutes.
    some = hypothesis_settings(
        max_examples=examples, stateful_step_count=50, deadline=None, database=None, phases=[Phase.generate]
    )
    run_state_machine_as_test(OnStore, settings=some)


@pytest.mark.skipif(COMPILER is None, reason="no C compiler: the clock of a process cannot be shifted")
def test_ids_of_a_process_grow_on_while_its_clock_jumps(tmp_path: Path) -> None:
    shifted = tmp_path / "shifted_clock.so"
    source = PROGRAMS / "shifted_clock.c"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", shifted, source, "-ldl"], check=True)
    program = [sys.executable, "-m", "programs.ids_by_a_jumping_clock"]
    ours = environment("sqlite://") | {"LD_PRELOAD": str(shifted)}
    told = json.loads(subprocess.run(program, env=ours, check=True, capture_output=True).stdout)

    jumps = [after - before for before, after in itertools.pairwise(told["said"])]
    assert [round(jump / DAY) for jump in jumps] == [0, -1, 2, -41, 40]
    assert told["ids"] == sorted(set(told["ids"]))
