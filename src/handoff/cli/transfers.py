"""`handoff transfers …`: every recorded attempt to move a session, of every account."""

import json
from collections.abc import Sequence
from typing import Any, Final

import click
from tabulate import tabulate

from handoff.api.transfer_schemas import details_of, recorded_of
from handoff.cli.common import account_option, json_option, load_settings, told_in_a_sentence
from handoff.cli.lookup import opened_conversations
from handoff.cli.times import When, shown_time
from handoff.domain.ids import is_row_id
from handoff.domain.model import OPERATOR, Transfer
from handoff.service.history import History, Outcome, TransferFilter, TransferNotFound, outcome_of
from handoff.service.scope import Scope
from handoff.stores import open_callbacks

# The most rows that are read at once, and callbacks that are shown of one transfer.
_PAGE: Final = 1_000
_MOST_CALLBACKS: Final = 200


@click.group()
def transfers() -> None:
    """Transfers: every attempt to move a session, won or refused."""


@transfers.command("list")
@account_option
@click.option("--session", "session_id", help="Of this session only.")
@click.option("--agent", "agent_id", help="To this agent (a-…) or from it only.")
@click.option("--outcome", type=click.Choice([one.value for one in Outcome]), help="With this outcome only.")
@click.option("--code", help="Refused with this code only.")
@click.option("--since", type=When(), help="Recorded since then: 24h, 7d, or 2026-11-25T08:00 (UTC).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at the most.")
@json_option
@told_in_a_sentence
def list_(*, account: str | None, outcome: str | None, limit: int, as_json: bool, **narrowed: Any) -> None:  # noqa: ANN401
    """List transfers, of each account the newest first."""
    wanted = TransferFilter(outcome=Outcome(outcome) if outcome else None, **narrowed)
    with opened_conversations(load_settings()) as (_, opened):
        found: list[Transfer] = []
        for one in [account] if account else opened.store.accounts():
            found += _first(opened, Scope(account_id=one), wanted, limit - len(found))
    tell(found, as_json=as_json, nothing="no such transfers")


@transfers.command()
@click.argument("transfer_id")
@json_option
@told_in_a_sentence
def show(transfer_id: str, *, as_json: bool) -> None:
    """Show one transfer with its callbacks."""
    settings = load_settings()
    with opened_conversations(settings) as (_, opened):
        transfer = _found(opened, transfer_id)
    callbacks = open_callbacks(settings).store
    scope = Scope(account_id=transfer.account_id)
    told = callbacks.of_transfer(scope, transfer_id, limit=_MOST_CALLBACKS)
    callbacks.close()
    details = details_of(transfer, told)
    if as_json:
        click.echo(json.dumps({"accountId": transfer.account_id, **details.model_dump(mode="json", by_alias=True)}))
        return
    shown = {**_as_row(transfer), "reason": details.reason or "", "request": transfer.request_id}
    click.echo(tabulate([row for row in shown.items() if row[1]], tablefmt="plain", disable_numparse=True))
    rows = [{"callback": one.id, "state": one.state.value, "url": one.callback_url} for one in details.callbacks]
    click.echo("\n" + (tabulate(rows, headers="keys") if rows else "no callbacks"))


def tell(found: Sequence[Transfer], *, as_json: bool, nothing: str) -> None:
    """Print the transfers, as a table or as JSON."""
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in found]))
    elif found:
        click.echo(tabulate([_as_row(one) for one in found], headers="keys", disable_numparse=True))
    else:
        click.echo(nothing)


def _first(opened: History, scope: Scope, wanted: TransferFilter, limit: int) -> list[Transfer]:
    found: list[Transfer] = []
    before = None
    while limit > len(found):
        page = opened.store.find(scope, wanted, before=before, limit=min(limit - len(found), _PAGE))
        found += page.transfers
        before = page.next_from
        if before is None:
            break
    return found


def _found(opened: History, transfer_id: str) -> Transfer:
    """The transfer, of whatever account."""
    for account in opened.store.accounts() if is_row_id(transfer_id) else ():
        found = opened.store.get(Scope(account_id=account), transfer_id)
        if found is not None:
            return found
    raise TransferNotFound(f"There is no transfer {transfer_id}.")


def _as_json(transfer: Transfer) -> dict[str, Any]:
    """The transfer as the API shows it, with its account."""
    return {"accountId": transfer.account_id, **recorded_of(transfer).model_dump(mode="json", by_alias=True)}


def _as_row(transfer: Transfer) -> dict[str, Any]:
    before = transfer.previous_state
    return {
        "transfer": transfer.transfer_id,
        "account": transfer.account_id,
        "at": shown_time(transfer.completed_at),
        "session": transfer.session_id,
        "outcome": outcome_of(transfer).value,
        "code": transfer.code or "",
        "from": transfer.previous_holder_id or (before.value if before else ""),
        "to": transfer.target.id or transfer.target.kind.value,
        "asked by": "operator" if transfer.app_id == OPERATOR else transfer.app_id,
    }
