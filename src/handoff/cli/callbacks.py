"""`handoff callbacks …`: look at callbacks of every account, send them again, cancel them."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import click
from tabulate import tabulate

from handoff.api.callback_schemas import summary_of
from handoff.cli.common import account_option, json_option, load_settings, told_in_a_sentence
from handoff.cli.times import When, shown_time
from handoff.migrating import prepare_store
from handoff.service.callbacks import (
    HOST_PATTERN,
    MAX_PAGE,
    CallbackFilter,
    CallbackNotFound,
    CallbackRefusal,
    Callbacks,
    CallbackState,
    StoredAttempt,
    StoredCallback,
)
from handoff.service.scope import Scope
from handoff.settings import SettingsError
from handoff.stores import open_callbacks

_REPEATABLE: Final = [CallbackState.DEAD.value, CallbackState.DELIVERED.value, CallbackState.CANCELLED.value]

_is_host = re.compile(HOST_PATTERN).fullmatch


class _Host(click.ParamType[str]):
    name = "host"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """The host, if it can be one of a lane."""
        if _is_host(str(value)) is None:
            self.fail("use a name or an address, with its port or without: bots.example.com:8443", param, ctx)
        return str(value)


_host: Final = click.option("--host", type=_Host(), help="For this host only, name or name:port.")
_since: Final = click.option("--since", type=When(), help="Recorded since then: 24h, 7d, or 2026-11-25T08:00 (UTC).")
_ids: Final = click.argument("callback_ids", metavar="CALLBACK_ID...", nargs=-1, required=True)


@click.group()
def callbacks() -> None:
    """Callbacks: which are waiting or dead, and what to do about them."""


@callbacks.command("list")
@click.option("--state", type=click.Choice([state.value for state in CallbackState]), help="In this state only.")
@account_option
@_host
@_since
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at the most.")
@json_option
@told_in_a_sentence
def list_(
    *, state: str | None, account: str | None, host: str | None, since: int | None, limit: int, as_json: bool
) -> None:
    """List callbacks, of each account the newest first."""
    wanted = CallbackFilter(state=CallbackState(state) if state else None, host=host, since=since)
    with _opened() as opened:
        found: list[StoredCallback] = []
        for scope in _scopes(opened, account):
            found += _first(opened, scope, wanted, limit + 1 - len(found))
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in shown]))
    elif shown:
        click.echo(tabulate([_as_row(one) for one in shown], headers="keys"))
    else:
        click.echo("no such callbacks")
    if len(found) > limit:
        click.echo(f"there are more than these {limit}: say --limit", err=True)


@callbacks.command()
@click.argument("callback_id")
@json_option
@told_in_a_sentence
def show(callback_id: str, *, as_json: bool) -> None:
    """Show one callback with its message and its attempts."""
    with _opened() as opened:
        callback = opened.get(_scope_of(opened, callback_id), callback_id)
        attempts = opened.store.attempts(callback.account_id, callback_id)
    if as_json:
        details = {"message": json.loads(callback.body), "attempts": [_attempt(one) for one in attempts]}
        click.echo(json.dumps(_as_json(callback) | details))
        return
    shown = {
        **_as_row(callback),
        "expires": shown_time(callback.expires_at) if callback.state is CallbackState.PENDING else "",
        "session": callback.session_id,
        "transfer": callback.transfer_id,
        "message": callback.body.decode(),
    }
    click.echo(tabulate(list(shown.items()), tablefmt="plain"))
    rows = [asdict(attempt) | {"started_at": shown_time(attempt.started_at)} for attempt in attempts]
    click.echo("\n" + (tabulate(rows, headers="keys") if rows else "no attempts yet"))


@callbacks.command()
@click.argument("callback_ids", metavar="[CALLBACK_ID...]", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All in --state, narrowed by the other options, spread out.")
@click.option("--state", type=click.Choice(_REPEATABLE), default="dead", show_default=True)
@account_option
@_host
@_since
@click.option("--per-second", type=click.FloatRange(0, 1_000, min_open=True), default=10.0, show_default=True)
@told_in_a_sentence
def redeliver(
    callback_ids: Sequence[str],
    *,
    all_: bool,
    state: str,
    account: str | None,
    host: str | None,
    since: int | None,
    per_second: float,
) -> None:
    """Send callbacks again: under the same webhook-id, with a fresh budget of attempts."""
    if all_ == bool(callback_ids):
        raise click.UsageError("name callbacks, or say --all")
    with _opened() as opened:
        if callback_ids:
            _each(opened, callback_ids, opened.redeliver)
            return
        count = 0
        wanted = CallbackFilter(state=CallbackState(state), host=host, since=since)
        for scope in _scopes(opened, account):
            count += _redeliver_all(opened, scope, wanted, per_second)
    click.echo(f"{count} callbacks will be sent again")


@callbacks.command()
@_ids
@told_in_a_sentence
def cancel(callback_ids: Sequence[str]) -> None:
    """Never send these pending callbacks again."""
    with _opened() as opened:
        _each(opened, callback_ids, opened.cancel)


@contextmanager
def _opened() -> Iterator[Callbacks]:
    settings = load_settings()
    prepare_store(settings)
    opened = open_callbacks(settings)
    try:
        yield opened
    except CallbackRefusal as refusal:
        raise SettingsError(refusal.sentence) from None
    finally:
        opened.store.close()


def _scopes(opened: Callbacks, account: str | None) -> list[Scope]:
    return [Scope(account_id=one) for one in ([account] if account else opened.store.accounts())]


def _scope_of(opened: Callbacks, callback_id: str) -> Scope:
    """The account that the callback belongs to."""
    for scope in _scopes(opened, None):
        if opened.store.get(scope, callback_id) is not None:
            return scope
    raise CallbackNotFound(f"There is no callback {callback_id}.")


def _first(opened: Callbacks, scope: Scope, wanted: CallbackFilter, limit: int) -> list[StoredCallback]:
    found: list[StoredCallback] = []
    before = None
    while limit > len(found):
        page = opened.store.find(scope, wanted, before=before, limit=min(limit - len(found), MAX_PAGE))
        found += page.callbacks
        before = page.next_before
        if before is None:
            break
    return found


def _redeliver_all(opened: Callbacks, scope: Scope, wanted: CallbackFilter, per_second: float) -> int:
    count, before, not_before = 0, None, 0
    while True:
        step = opened.redeliver_page(scope, wanted, per_second=per_second, before=before, not_before=not_before)
        count, before, not_before = count + step.count, step.next_before, step.last_due_at
        if before is None:
            return count


def _each(opened: Callbacks, callback_ids: Sequence[str], act: Callable[[Scope, str], StoredCallback]) -> None:
    """Do it to every one; those that it cannot be done to are told, and make the exit code 1."""
    is_whole = True
    for callback_id in callback_ids:
        try:
            callback = act(_scope_of(opened, callback_id), callback_id)
        except CallbackRefusal as refusal:
            is_whole = False
            click.echo(refusal.sentence, err=True)
        else:
            click.echo(f"{callback_id} is {callback.state.value}")
    if not is_whole:
        sys.exit(1)


def _as_json(callback: StoredCallback) -> dict[str, Any]:
    """The callback as the API shows it, with its account."""
    return {"accountId": callback.account_id, **summary_of(callback).model_dump(mode="json", by_alias=True)}


def _attempt(attempt: StoredAttempt) -> dict[str, Any]:
    """The attempt, with what the API leaves out."""
    return {
        "startedAt": attempt.started_at,
        "durationMs": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error,
        "detail": attempt.detail,
        "remoteAddress": attempt.remote_address,
        "excerpt": attempt.excerpt,
    }


def _as_row(callback: StoredCallback) -> dict[str, Any]:
    return {
        "callback": callback.callback_id,
        "account": callback.account_id,
        "state": callback.state.value,
        "recorded": shown_time(callback.completed_at),
        "due": shown_time(callback.due_at) if callback.state is CallbackState.PENDING else "",
        "attempts": callback.attempts,
        "last": callback.last_status or callback.last_error or "",
        "reason": callback.dead_reason or "",
        "url": callback.url,
    }
