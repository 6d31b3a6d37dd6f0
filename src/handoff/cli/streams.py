"""`handoff streams …`: the bots of each account, and the org that each belongs to."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from tabulate import tabulate

from handoff.api.directory_schemas import stream_of
from handoff.cli.common import account_option, json_option, limit_option, load_settings, told_in_a_sentence
from handoff.domain import ids
from handoff.domain.model import Stream
from handoff.migrating import prepare_store
from handoff.service.apps import DirectoryRefusal, StreamStore
from handoff.stores import open_streams
from handoff.system import SystemIds


@click.group()
def streams() -> None:
    """Streams: the bots, and which org each belongs to."""


@streams.command("list")
@account_option
@limit_option
@json_option
@told_in_a_sentence
def list_(*, account: str | None, limit: int, as_json: bool) -> None:
    """List streams by account."""
    with _opened() as opened:
        found = opened.find(account, limit=limit)
    if as_json:
        click.echo(json.dumps([_as_json(stream) for stream in found]))
    elif found:
        click.echo(tabulate([_as_row(stream) for stream in found], headers="keys"))
    else:
        click.echo("no streams")


@streams.command()
@click.argument("stream_id", required=False)
@click.option("--account", required=True, help="The account that it belongs to.")
@click.option("--org", required=True, help="The org whose agents and queues it hands over to.")
@click.option("--name", default="", help="What people call it.")
@json_option
@told_in_a_sentence
def create(stream_id: str | None, *, account: str, org: str, name: str, as_json: bool) -> None:
    """Make the stream STREAM_ID, or change its org and name; without an id, one is made."""
    stream = stream_of(
        {
            "streamId": stream_id or ids.stream_id(SystemIds().fresh()),
            "accountId": account,
            "orgId": org,
            "name": name,
        }
    )
    with _opened() as opened:
        is_new = opened.put(stream)
    if as_json:
        click.echo(json.dumps(_as_json(stream)))
    else:
        click.echo(f"stream {stream.stream_id} is {'made' if is_new else 'changed'}")


@streams.command()
@click.argument("stream_id")
@click.option("--account", required=True, help="The account that it belongs to.")
@told_in_a_sentence
def delete(stream_id: str, *, account: str) -> None:
    """Delete STREAM_ID, unless it has sessions that are not closed."""
    with _opened() as opened:
        count = opened.delete(account, stream_id)
    if count is None:
        raise DirectoryRefusal(f"account {account} has no stream {stream_id}")
    if count:
        raise DirectoryRefusal(f"stream {stream_id} has {count} sessions that are not closed: close them first")
    click.echo(f"stream {stream_id} is deleted")


@contextmanager
def _opened() -> Iterator[StreamStore]:
    settings = load_settings()
    prepare_store(settings)
    opened = open_streams(settings)
    try:
        yield opened
    finally:
        opened.close()


def _as_json(stream: Stream) -> dict[str, Any]:
    return {
        "streamId": stream.stream_id,
        "accountId": stream.account_id,
        "orgId": stream.org_id,
        "name": stream.name,
    }


def _as_row(stream: Stream) -> dict[str, Any]:
    return {"stream": stream.stream_id, "account": stream.account_id, "org": stream.org_id, "name": stream.name}
