"""`handoff sessions open`, `close` and `release`: done here and now, like the same calls of the API."""

import sys
from collections.abc import Sequence
from typing import Final, Literal

import click
from pydantic import ValidationError

from handoff.api.conversation_schemas import OpenSession
from handoff.api.sentences import sentence_of
from handoff.cli.common import account_option, load_settings, told_in_a_sentence
from handoff.cli.lookup import find_session, find_stream, opened_conversations
from handoff.domain.lifecycle import Opened
from handoff.domain.model import OPERATOR, MoveRequest, OpenRequest, Session, SessionState, TargetKind
from handoff.operating import operating
from handoff.service.conversations import NotFound
from handoff.service.outcomes import Moved, Request, SessionRefused, Settled
from handoff.service.ports import StoreError
from handoff.service.transfer import Transfers
from handoff.settings import SettingsError
from handoff.system import SystemIds

_Kind = Literal[TargetKind.BOT, TargetKind.CLOSED]

_ids: Final = click.argument("session_ids", metavar="SESSION_ID...", nargs=-1, required=True)
_expected: Final = click.option("--expected-agent", help="Only if this agent (a-…) has it now.")


@click.command("open")
@click.argument("session_id")
@click.option("--stream", "stream_id", required=True, help="The stream that it belongs to.")
@account_option
@click.option("--source", help="Its channel.")
@click.option("--language", help="Its language.")
@told_in_a_sentence
def open_(session_id: str, *, stream_id: str, account: str | None, source: str | None, language: str | None) -> None:
    """Let a bot session be known, so that it can be assigned. Again, it changes nothing."""
    settings = load_settings()
    try:
        OpenSession.model_validate({"botSessionId": session_id, "source": source, "language": language})
    except ValidationError as error:
        raise SettingsError(sentence_of(error)) from None
    with opened_conversations(settings) as (opened, _):
        stream = find_stream(opened, stream_id, account)
    request = OpenRequest(
        account_id=stream.account_id,
        app_id=OPERATOR,
        stream_id=stream.stream_id,
        org_id=stream.org_id,
        session_id=session_id,
        source=source,
        language=language,
        request_id=SystemIds().fresh(),
    )
    with operating(settings) as transfers:
        done = _settle(transfers, request)
    if isinstance(done, SessionRefused):
        raise SettingsError(done.detail)
    is_new = isinstance(done, Opened) and done.is_new
    click.echo(f"{session_id} is open" if is_new else f"{session_id} is known already")


@click.command()
@_ids
@account_option
@_expected
@told_in_a_sentence
def close(session_ids: Sequence[str], *, account: str | None, expected_agent: str | None) -> None:
    """End these sessions for good, whoever has them."""
    _move_each(session_ids, TargetKind.CLOSED, account, expected_agent)


@click.command()
@_ids
@account_option
@_expected
@told_in_a_sentence
def release(session_ids: Sequence[str], *, account: str | None, expected_agent: str | None) -> None:
    """Give these sessions back to the bot, from whichever agent or queue has them."""
    _move_each(session_ids, TargetKind.BOT, account, expected_agent)


def _move_each(session_ids: Sequence[str], kind: _Kind, account: str | None, expected_agent: str | None) -> None:
    """Move every one; those that cannot be moved are told, and make the exit code 1."""
    settings = load_settings()
    is_whole = True
    with opened_conversations(settings) as (opened, _), operating(settings) as transfers:
        for session_id in session_ids:
            try:
                session = find_session(opened, session_id, account).session
                done = _settle(transfers, _moving(session, kind, expected_agent))
            except NotFound as missing:
                is_whole = _tell(session_id, missing)
            else:
                is_whole &= _tell(session_id, done)
    if not is_whole:
        sys.exit(1)


def _moving(session: Session, kind: _Kind, expected_agent: str | None) -> MoveRequest:
    return MoveRequest(
        account_id=session.account_id,
        app_id=OPERATOR,
        stream_id=session.stream_id,
        session_id=session.session_id,
        kind=kind,
        expected_agent_id=expected_agent,
        request_id=SystemIds().fresh(),
    )


def _settle(transfers: Transfers, request: Request) -> Settled:
    """What became of the one request. Raises StoreError."""
    (done,) = transfers.settle([request])
    if isinstance(done, StoreError):
        raise done
    return done


def _tell(session_id: str, done: Settled | NotFound) -> bool:
    """Say what became of it; whether it was moved, or was so already."""
    if isinstance(done, Moved):
        click.echo(f"{session_id} is {'closed' if done.session.state is SessionState.CLOSED else 'with the bot'}")
        return True
    click.echo(str(done), err=True)
    return False
