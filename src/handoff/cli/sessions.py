"""`handoff sessions …`: look at sessions of every account, open them, close them, give them back to the bot."""

import json
from typing import Any, Final

import click
from tabulate import tabulate

from handoff.api.conversation_objects import conversation_of
from handoff.cli.common import account_option, json_option, load_settings, told_in_a_sentence
from handoff.cli.lookup import find_session, opened_conversations
from handoff.cli.moves import close, open_, release
from handoff.cli.times import When, shown_time
from handoff.cli.transfers import tell
from handoff.domain.model import SessionState, Target, TargetKind, Transfer
from handoff.service.conversations import ConversationFilter, Conversations, StoredConversation
from handoff.service.history import History
from handoff.service.scope import Scope

# The most rows that are read at once.
_PAGE: Final = 200
_HISTORY_PAGE: Final = 1_000


@click.group()
def sessions() -> None:
    """Sessions: who has them, and what was tried with them."""


for _command in (open_, close, release):
    sessions.add_command(_command)


@sessions.command("list")
@account_option
@click.option("--stream", help="Of this stream only.")
@click.option("--state", type=click.Choice([state.value for state in SessionState]), help="In this state only.")
@click.option("--agent", help="With this agent (a-…) only.")
@click.option("--queue", help="In this queue only.")
@click.option("--since", type=When(), help="Opened since then: 24h, 7d, or 2026-11-25T08:00 (UTC).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at the most.")
@json_option
@told_in_a_sentence
def list_(*, account: str | None, stream: str | None, limit: int, as_json: bool, **narrowed: Any) -> None:  # noqa: ANN401
    """List sessions, of each account the newest first."""
    wanted = _filter(**narrowed)
    with opened_conversations(load_settings()) as (opened, _):
        found: list[StoredConversation] = []
        for one in [account] if account else opened.store.accounts():
            found += _first(opened, Scope(account_id=one, stream_id=stream), wanted, limit - len(found))
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in found]))
    elif found:
        click.echo(tabulate([_as_row(one) for one in found], headers="keys", disable_numparse=True))
    else:
        click.echo("no such sessions")


@sessions.command()
@click.argument("session_id")
@account_option
@json_option
@told_in_a_sentence
def show(session_id: str, *, account: str | None, as_json: bool) -> None:
    """Show one session with every agent who had it."""
    with opened_conversations(load_settings()) as (opened, _):
        stored = find_session(opened, session_id, account)
    if as_json:
        click.echo(json.dumps(_as_json(stored)))
        return
    conversation = conversation_of(stored)
    shown = {**_as_row(stored), "stream": conversation.stream_id, "org": conversation.org_id}
    click.echo(tabulate([row for row in shown.items() if row[1] != ""], tablefmt="plain", disable_numparse=True))
    rows = [
        {"agent": one.agent_id, "name": one.name, "from": one.assigned_at, "to": one.end_time_stamp or "now"}
        for one in conversation.participants
    ]
    click.echo("\n" + (tabulate(rows, headers="keys", disable_numparse=True) if rows else "no agent had it"))


@sessions.command()
@click.argument("session_id")
@account_option
@json_option
@told_in_a_sentence
def history(session_id: str, *, account: str | None, as_json: bool) -> None:
    """Show everything that was tried with a session, won or refused, the oldest first."""
    with opened_conversations(load_settings()) as (opened, told):
        session = find_session(opened, session_id, account).session
        found = _whole_history(told, Scope(account_id=session.account_id), session_id)
    tell(found, as_json=as_json, nothing="nothing was tried yet")


def _filter(*, state: str | None, agent: str | None, queue: str | None, since: int | None) -> ConversationFilter:
    if agent and queue:
        raise click.UsageError("name an agent or a queue, not both")
    holder = Target(TargetKind.AGENT, agent) if agent else Target(TargetKind.QUEUE, queue) if queue else None
    return ConversationFilter(states=frozenset({SessionState(state)}) if state else None, holder=holder, since=since)


def _first(opened: Conversations, scope: Scope, wanted: ConversationFilter, limit: int) -> list[StoredConversation]:
    found: list[StoredConversation] = []
    before = None
    while limit > len(found):
        page = opened.store.find(scope, wanted, before=before, limit=min(limit - len(found), _PAGE))
        found += page.conversations
        before = page.next_before
        if before is None:
            break
    return found


def _whole_history(told: History, scope: Scope, session_id: str) -> list[Transfer]:
    page = told.of_session(scope, session_id, after=None, limit=_HISTORY_PAGE)
    found = list(page.transfers)
    while page.next_from is not None:
        page = told.of_session(scope, session_id, after=page.next_from, limit=_HISTORY_PAGE)
        found += page.transfers
    return found


def _as_json(stored: StoredConversation) -> dict[str, Any]:
    return conversation_of(stored).model_dump(mode="json", by_alias=True)


def _as_row(stored: StoredConversation) -> dict[str, Any]:
    session = stored.session
    return {
        "session": session.session_id,
        "conversation": session.conversation_id,
        "account": session.account_id,
        "state": session.state.value,
        "with": session.holder_id or "",
        "version": session.version,
        "opened": shown_time(stored.opened_at or None),
    }
