"""Dispatchers that are killed again and again lose no message, and post none under two ids."""

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from conftest import StartService
from handoff import Settings, load_directory
from handoff.signing import app_callback_secrets
from handoff.stores import open_audit
from rigs import sample
from rigs.backlog import Stored, body_of, queue_up, stored
from rigs.receiver import Received, Receiver
from rigs.service import Service

MASTER = "whsec_" + "QUJD" * 10
LANES = 6
DISPATCHERS = 2
# The lease is the shortest that this timeout allows: what a killed dispatcher held comes back after it.
# 32 at a time, a tenth of a second each, make a portion last for longer than a dispatcher that rests goes on resting.
SETTINGS = {
    "callback_secrets": MASTER,
    "callback_timeout_seconds": 2,
    "callback_lease_seconds": 14,
    "callback_in_flight": 32,
}
ANSWER_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """`kills` dispatchers die, each within a portion of its own of so many messages."""

    portion: int
    kills: int

    @property
    def messages(self) -> int:
        return self.portion * self.kills


SHORT = Run(portion=200, kills=3)
LONG = Run(portion=300, kills=20)


@pytest.fixture
def run(*, is_long: bool) -> Run:
    return LONG if is_long else SHORT


def slowly(_: Received) -> tuple[int, Mapping[str, str]]:
    time.sleep(ANSWER_AFTER_S)
    return 200, {}


def kill_within_each_portion(
    run: Run, settings: Settings, dispatchers: Sequence[Service], receivers: Sequence[Receiver]
) -> None:
    """Queue portion after portion; in turn kill a dispatcher at some moment within each and start it anew."""
    for number in range(run.kills):
        before = sum(len(receiver.received) for receiver in receivers)
        urls = [receivers[place % LANES].url() for place in range(run.portion)]
        queue_up(settings, urls, first_number=number * run.portion)
        some = before + random.randint(1, run.portion // 2)
        while sum(len(receiver.received) for receiver in receivers) < some:
            time.sleep(0.01)
        victim = dispatchers[number % DISPATCHERS]
        victim.kill()
        victim.start()


def wait_until_delivered(settings: Settings) -> dict[str, Stored]:
    """Every message, once all are delivered, for as long as the test's own timeout allows."""
    found = stored(settings)
    while {message.state for message in found.values()} != {"delivered"}:
        time.sleep(0.1)
        found = stored(settings)
    return found


@pytest.mark.timeout(600)
def test_killed_dispatchers_lose_nothing_and_a_kill_costs_a_message_one_copy_at_most(
    database_url: str, start_service: StartService, run: Run
) -> None:
    settings = Settings(database_url=database_url, callback_secrets=(SecretStr(MASTER),))
    load_directory(settings, sample.directory())

    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver(answer=slowly)) for _ in range(LANES)]
        dispatchers = [
            start_service(database_url, command=("handoff", "dispatch"), settings=SETTINGS) for _ in range(DISPATCHERS)
        ]
        kill_within_each_portion(run, settings, dispatchers, receivers)
        delivered = wait_until_delivered(settings)
        assert [dispatcher.stop() for dispatcher in dispatchers] == [0] * DISPATCHERS
    received = [one for receiver in receivers for one in receiver.received]

    copies = Counter(one.headers["webhook-id"] for one in received)
    (secret,) = app_callback_secrets(settings, sample.APP)
    verifier = Webhook(secret)
    for one in received:
        verifier.verify(one.body, dict(one.headers))
    audit = open_audit(settings)
    violations = audit.violations()
    audit.close()
    lost_leases = sum(message.claims - message.attempts for message in delivered.values())
    tell(run, database_url, copies, lost_leases)
    assert {one.headers["webhook-id"]: one.body for one in received} == {
        f"msg_{number}": body_of(number) for number in range(run.messages)
    }
    assert len({(one.headers["webhook-id"], one.body) for one in received}) == run.messages
    assert max(copies.values()) <= 1 + run.kills
    # A copy for each lease at most: so only a lease that died with its dispatcher explains a second one.
    assert [name for name, message in delivered.items() if copies[name] > message.claims] == []
    assert lost_leases > 0
    assert violations == []


def tell(run: Run, database_url: str, copies: Counter[str], lost_leases: int) -> None:
    """The figures, for those who run the proof by name."""
    store = database_url.partition(":")[0]
    print(
        f"\n{store}: {run.messages} messages, {DISPATCHERS} dispatchers, {run.kills} kills: {len(copies)} delivered, "
        f"{lost_leases} leases lost, {copies.total() - len(copies)} further copies, "
        f"{max(copies.values())} copies of one message at most"
    )
