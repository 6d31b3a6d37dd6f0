"""Uses of tokens are recorded once each and for no longer than they have to be, on both databases."""

from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import func, select

from fakes import FakeClock
from handoff import Settings
from handoff.domain.claims import TokenUse
from handoff.service.meter import UNMEASURED
from handoff.service.ports import StoreUnavailable
from handoff.service.retention import Retention
from handoff.service.used_tokens import GiveBack, Spend, TokenDesk, UsedTokenStore
from handoff.store.engine import open_writer
from handoff.store.retention import SqlRetention
from handoff.store.tables import used_tokens
from handoff.stores import open_used_tokens
from rigs.metrics import metrics, read

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def store(stored: Settings) -> Iterator[UsedTokenStore]:
    opened = open_used_tokens(stored)
    yield opened
    opened.close()


@pytest.fixture
def desk(store: UsedTokenStore) -> TokenDesk:
    return TokenDesk(store, UNMEASURED)


@pytest.fixture
def retention(stored: Settings) -> Iterator[Retention]:
    opened = SqlRetention(open_writer(stored.database_url))
    yield Retention(store=opened, clock=FakeClock(NOW), delivered_ms=1, dead_ms=1, events_ms=1)
    opened.close()


def use(number: int = 0, *, account: str = "acc-1", app: str = "cs-1", expires_at: int = NOW) -> TokenUse:
    return TokenUse(account, app, f"{number:064x}", expires_at)


def left(stored: Settings) -> int:
    engine = open_writer(stored.database_url)
    with engine.begin() as connection:
        count = connection.scalar(select(func.count()).select_from(used_tokens)) or 0
    engine.dispose()
    return count


def spend(desk: TokenDesk, uses: Sequence[TokenUse]) -> Sequence[object]:
    return desk.settle([Spend(one) for one in uses])


def test_the_first_use_of_each_token_counts_within_a_batch_and_across_batches(desk: TokenDesk) -> None:
    first = spend(desk, [use(1), use(2), use(1), use(1)])
    second = spend(desk, [use(2), use(3)])

    assert first == [True, True, False, False]
    assert second == [False, True]


def test_a_token_is_known_by_its_account_its_app_and_its_jti(desk: TokenDesk) -> None:
    uses = [use(), use(account="acc-2"), use(app="cs-2"), use(1), use(expires_at=NOW + 1)]

    assert spend(desk, uses) == [True, True, True, True, False]


def test_a_use_that_is_given_back_can_be_had_once_more(desk: TokenDesk, stored: Settings) -> None:
    spend(desk, [use(1), use(2)])
    given_back = desk.settle([GiveBack(use(1))])

    assert given_back == [True]
    assert left(stored) == 1
    assert spend(desk, [use(1), use(1), use(2)]) == [True, False, False]


def test_a_batch_of_both_kinds_does_both(desk: TokenDesk) -> None:
    spend(desk, [use(1)])

    assert desk.settle([Spend(use(2)), GiveBack(use(1)), Spend(use(2))]) == [True, True, False]
    assert spend(desk, [use(1), use(2)]) == [True, False]


def test_what_is_given_back_twice_or_never_was_is_no_fault(desk: TokenDesk) -> None:
    assert desk.settle([GiveBack(use(1)), GiveBack(use(1))]) == [True, True]


def test_of_a_batch_of_hundreds_each_is_answered(desk: TokenDesk) -> None:
    uses = [use(number) for number in range(700)]

    assert spend(desk, uses) == [True] * 700
    assert spend(desk, [*uses, use(700)]) == [False] * 700 + [True]


class Away:
    """A store that is not there."""

    def change(self, spent: object, given_back: object) -> Sequence[TokenUse]:
        del spent, given_back
        raise StoreUnavailable("away")

    def abort(self) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def test_a_store_that_is_away_is_the_answer_to_everyone_of_the_batch() -> None:
    measured = metrics()

    answers = TokenDesk(Away(), measured).settle([Spend(use()), GiveBack(use())])

    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    assert read(measured)['handoff_store_errors_total{part="tokens"}'] == 1


@pytest.mark.parametrize(
    ("age_ms", "is_forgotten"), [(HOUR_MS + 1, True), (HOUR_MS - 1, False), (0, False), (-HOUR_MS, False)]
)
def test_a_use_is_forgotten_an_hour_after_nobody_takes_its_token_any_more(
    desk: TokenDesk,
    stored: Settings,
    retention: Retention,
    age_ms: int,
    is_forgotten: bool,  # noqa: FBT001 (a case)
) -> None:
    spend(desk, [use(expires_at=NOW - age_ms)])
    forgotten = retention.forget_tokens()

    assert forgotten == is_forgotten
    assert left(stored) == (not is_forgotten)


def test_uses_of_many_accounts_are_forgotten_step_by_step(
    desk: TokenDesk, stored: Settings, retention: Retention
) -> None:
    for account in ("acc-1", "acc-2", "acc-3"):
        old = [use(number, account=account, expires_at=NOW - 2 * HOUR_MS - number) for number in range(1_200)]
        spend(desk, [*old, use(9_999, account=account)])
    steps = []
    while (step := retention.forget_tokens()) > 0:
        steps.append(step)

    assert sum(steps) == 3_600
    assert max(steps) <= 1_000
    assert left(stored) == 3


def test_a_purge_forgets_tokens_too(desk: TokenDesk, stored: Settings, retention: Retention) -> None:
    spend(desk, [use(number, expires_at=0) for number in range(1_001)])
    retention.purge()

    assert left(stored) == 0
