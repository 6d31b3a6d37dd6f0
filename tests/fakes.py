"""The world that tests may stand in for: the clock, fresh ids and chance. Never the store."""


class FakeClock:
    """A clock that stands still until it is told otherwise; epoch milliseconds."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def set(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def advance(self, by_ms: int) -> None:
        """Move on, or back where `by_ms` is negative."""
        self._now_ms += by_ms


class FakeIds:
    """Ids in the shape of a UUIDv7, counted up from 1: each greater than the last, the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"0190a1b2-c3d4-7000-8000-{self._count:012x}"


class FakeChance:
    """Chance that always falls the same way, until another share in [0, 1) is set."""

    def __init__(self, share: float = 0.0) -> None:
        self._share = share

    def share(self) -> float:
        return self._share

    def set(self, share: float) -> None:
        self._share = share
