"""The part of the composition root that an operator's command changes sessions with, beside a running service."""

from collections.abc import Iterator
from contextlib import contextmanager

from handoff.domain.rules import Reassign
from handoff.service.meter import UNMEASURED
from handoff.service.transfer import Transfers
from handoff.settings import Settings
from handoff.stores import open_transfer_store
from handoff.system import SystemClock, SystemIds


@contextmanager
def operating(settings: Settings) -> Iterator[Transfers]:
    """Transfers that are decided in the caller's own thread."""
    store = open_transfer_store(settings)
    try:
        yield Transfers(
            store, clock=SystemClock(), ids=SystemIds(), reassign=Reassign(settings.reassign), meter=UNMEASURED
        )
    finally:
        store.close()
