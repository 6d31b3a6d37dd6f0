"""A conversation's life in the vendor's terms: who had it, from when to when, and how it moved on.

It is told from the session's won transfers alone. Times are epoch milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from handoff.domain.model import SessionState, Target, TargetKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One won transfer: at which time the session went where.

    `user_id`, `name` and `email_id` are what the target is called now; an agent or queue that is gone has no name, and
    its agent no `user_id`.
    """

    transfer_id: str
    at: int
    previous_state: SessionState | None
    previous_holder_id: str | None
    target: Target
    user_id: str | None = None
    name: str = ""
    email_id: str = ""

    @property
    def shown_id(self) -> str:
        """The target as the vendor's conversations name it: an agent by the user's id, while that is known."""
        return self.user_id or self.target.id


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStay:
    """Where the session waits or waited before it was given away, and since when."""

    queue_id: str
    name: str
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """An agent's time with the session; whoever gets it twice is there twice.

    `queue` is where the session was taken from. `was_transferred` tells that it went on, to the bot also; `ended_chat`,
    that it was closed.
    """

    agent_id: str
    name: str
    queue: QueueStay | None
    assigned_at: int
    is_from_agent: bool
    ended_at: int | None = None
    was_transferred: bool = False
    ended_chat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferDetail:
    """How the session came to an agent or a queue, and whom it came from; neither means the bot."""

    transfer_id: str
    at: int
    from_agent: str | None
    from_queue: str | None
    kind: TargetKind
    to_id: str
    to_name: str
    to_email_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """All of it. `queue` is where the session waits now; `waited_ms` what it waited before, in all queues together."""

    participants: Sequence[Participant] = ()
    details: Sequence[TransferDetail] = ()
    queue: QueueStay | None = None
    waited_ms: int = 0
    accepted_at: int | None = None
    moved_at: int | None = None
    ended_at: int | None = None


def life_of(steps: Sequence[Step]) -> Life:
    """What the steps, in their order, make of a session that was with the bot."""
    telling = _Telling()
    for step in steps:
        telling.follow(step)
    return telling.life()


@dataclass(slots=True)
class _Telling:
    """The life up to here. The last participant is the present one until it has ended."""

    participants: list[Participant] = field(default_factory=list)
    details: list[TransferDetail] = field(default_factory=list)
    queue: QueueStay | None = None
    waited_ms: int = 0
    moved_at: int | None = None
    ended_at: int | None = None

    def follow(self, step: Step) -> None:
        queue, self.queue = self.queue, None
        if queue is not None:  # clocks of two machines may differ
            self.waited_ms += max(0, step.at - queue.since)
        if step.target.kind in {TargetKind.AGENT, TargetKind.QUEUE}:
            self.details.append(self._detail(step))
        self._end_participant(step)
        self.moved_at = step.at
        match step.target.kind:
            case TargetKind.AGENT:
                self.participants.append(_participant(step, queue))
            case TargetKind.QUEUE:
                self.queue = QueueStay(queue_id=step.target.id, name=step.name, since=step.at)
            case TargetKind.CLOSED:
                self.ended_at = step.at
            case TargetKind.BOT:
                pass

    def life(self) -> Life:
        return Life(
            participants=self.participants,
            details=self.details,
            queue=self.queue,
            waited_ms=self.waited_ms,
            accepted_at=self.participants[0].assigned_at if self.participants else None,
            moved_at=self.moved_at,
            ended_at=self.ended_at,
        )

    def _present(self) -> Participant | None:
        last = self.participants[-1] if self.participants else None
        return last if last is not None and last.ended_at is None else None

    def _detail(self, step: Step) -> TransferDetail:
        present = self._present()
        # Of a life that is told from its middle on, the id of the directory is all that is known of an agent before.
        is_from_agent = step.previous_state is SessionState.AGENT
        is_from_queue = step.previous_state is SessionState.QUEUE
        return TransferDetail(
            transfer_id=step.transfer_id,
            at=step.at,
            from_agent=(present.agent_id if present else step.previous_holder_id) if is_from_agent else None,
            from_queue=step.previous_holder_id if is_from_queue else None,
            kind=step.target.kind,
            to_id=step.shown_id,
            to_name=step.name,
            to_email_id=step.email_id,
        )

    def _end_participant(self, step: Step) -> None:
        present = self._present()
        if present is not None:
            is_over = step.target.kind is TargetKind.CLOSED
            self.participants[-1] = replace(present, ended_at=step.at, was_transferred=not is_over, ended_chat=is_over)


def _participant(step: Step, queue: QueueStay | None) -> Participant:
    return Participant(
        agent_id=step.shown_id,
        name=step.name,
        queue=queue,
        assigned_at=step.at,
        is_from_agent=step.previous_state is SessionState.AGENT,
    )
