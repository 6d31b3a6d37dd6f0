"""How many connections a server keeps open at one time, and which of them makes room for a new one."""

from collections import OrderedDict
from typing import Final, Protocol

from handoff.domain.message import problem
from handoff.domain.refusals import Refusal

_BODY: Final = problem(Refusal.OVERLOADED, "Nothing was recorded, repeat the request: every connection is in use.")
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class Occupant(Protocol):
    """A connection."""

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being served."""
        ...

    def leave(self, words: bytes = b"") -> None:
        """Close it, with these as its last words."""
        ...


class Room:
    """At most `limit` connections. Past it the one goes whose last request lies farthest back, if none is under way.

    So nobody keeps others out with connections that are only held open. Where every one is being served, the newcomer
    is told to come again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside: OrderedDict[Occupant, None] = OrderedDict()  # the one whose last request is the oldest first

    def enter(self, newcomer: Occupant) -> None:
        """A connection was opened."""
        if len(self._inside) >= self._limit:
            idle = next((one for one in self._inside if one.is_idle), None)
            if idle is None:
                newcomer.leave(_FULL)
                return
            del self._inside[idle]
            idle.leave()
        self._inside[newcomer] = None

    def note(self, occupant: Occupant) -> None:
        """A request has come in whole."""
        if occupant in self._inside:
            self._inside.move_to_end(occupant)

    def forget(self, occupant: Occupant) -> None:
        """The connection is closed."""
        self._inside.pop(occupant, None)
