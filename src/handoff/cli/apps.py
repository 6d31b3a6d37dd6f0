"""`handoff apps …`: who may call, and with which secrets, each shown once and never again."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Final, TextIO

import click
from tabulate import tabulate

from handoff.api.directory_schemas import app_of
from handoff.cli.common import account_option, json_option, limit_option, load_settings, told_in_a_sentence
from handoff.cli.shown_apps import EVERY_STREAM, app_as_json, app_as_row, told_secret
from handoff.cli.tokens import known_app
from handoff.domain import ids
from handoff.domain.credentials import HMAC_ALGORITHMS, PUBLIC_KEY_ALGORITHMS, SCOPES
from handoff.migrating import prepare_store
from handoff.service.apps import Apps, StoredApp
from handoff.settings import SettingsError
from handoff.signing import app_callback_secrets
from handoff.stores import open_apps
from handoff.system import SystemIds

_name: Final = click.option("--name", help="What people call it.")
_scopes: Final = click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="What it may do.")
_streams: Final = click.option("--stream", "streams", multiple=True, help="A stream that it may use; '*': all.")
_algorithms: Final = click.option(
    "--algorithm",
    "algorithms",
    type=click.Choice([*HMAC_ALGORITHMS, *PUBLIC_KEY_ALGORITHMS]),
    multiple=True,
    help="How its tokens may be signed.",
)
_public_keys: Final = click.option(
    "--public-key",
    "public_keys",
    type=click.File("r", encoding="utf-8"),
    multiple=True,
    help="File with a public key (PEM), for RS256, ES256 and EdDSA.",
)
_require_exp: Final = click.option(
    "--require-exp/--no-require-exp", default=None, help="Whether its tokens must expire."
)
_require_jti: Final = click.option(
    "--require-jti/--no-require-jti", default=None, help="Whether its tokens can be used once only."
)
_secret_file: Final = click.option(
    "--secret-file", type=click.File("r", encoding="utf-8"), help="File with its secret (-: standard input)."
)


@click.group()
def apps() -> None:
    """Apps: who may call, and with which secrets."""


@apps.command("list")
@account_option
@limit_option
@json_option
@told_in_a_sentence
def list_(*, account: str | None, limit: int, as_json: bool) -> None:
    """List apps by account, their secrets by fingerprint."""
    with opened_apps() as opened:
        found = opened.store.find(account, limit=limit)
    if as_json:
        click.echo(json.dumps([app_as_json(app) for app in found]))
    elif found:
        click.echo(tabulate([app_as_row(app) for app in found], headers="keys"))
    else:
        click.echo("no apps")


@apps.command()
@click.argument("app_id")
@json_option
@told_in_a_sentence
def show(app_id: str, *, as_json: bool) -> None:
    """Show APP_ID, its secrets by place and fingerprint."""
    with opened_apps() as opened:
        app = opened.get(app_id)
    if as_json:
        click.echo(json.dumps(app_as_json(app)))
        return
    required = {"require exp": app.require_exp, "require jti": app.require_jti}
    shown = {**app_as_row(app), "secrets": ""} | {name: "yes" if is_so else "no" for name, is_so in required.items()}
    shown |= {f"secret {place}": told_secret(secret) for place, secret in enumerate(app.secrets, start=1)}
    shown |= {f"public key {place}": key.strip() for place, key in enumerate(app.public_keys, start=1)}
    click.echo(tabulate([row for row in shown.items() if row[1] != ""], tablefmt="plain"))


@apps.command()
@click.option("--account", required=True, help="The account that it belongs to.")
@click.option("--id", "app_id", help="Its id; without, one is made.")
@_name
@_scopes
@_streams
@_algorithms
@_public_keys
@_secret_file
@_require_exp
@_require_jti
@json_option
@told_in_a_sentence
def create(*, app_id: str | None, secret_file: TextIO | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Make an app. The secret that is made for it, where none is given, is shown this once.

    Without --scope it may do Routing; a --stream must be named.
    """
    if not given["streams"]:
        raise click.UsageError("name a stream with --stream, or all with --stream '*'")
    values = {"appId": app_id or ids.app_id(SystemIds().fresh()), "scopes": ["Routing"], **_values_of(**given)}
    if secret_file is not None:
        values["secrets"] = [secret_file.read().strip()]
    with opened_apps() as opened:
        app, made = opened.create(app_of(values))
    tell_secret(app, made, f"app {app.app_id} is made", as_json=as_json)


@apps.command()
@click.argument("app_id")
@_name
@_scopes
@_streams
@_algorithms
@_public_keys
@_require_exp
@_require_jti
@json_option
@told_in_a_sentence
def change(app_id: str, *, as_json: bool, **given: Any) -> None:  # noqa: ANN401 (options by name)
    """Change APP_ID: each option that is given takes the place of what there was."""
    with opened_apps() as opened:
        app, made = opened.change(app_id, lambda app: _changed(app, _values_of(**given)))
    tell_secret(app, made, f"app {app_id} is changed", as_json=as_json)


@apps.command()
@click.argument("app_id")
@told_in_a_sentence
def enable(app_id: str) -> None:
    """Let APP_ID call again."""
    with opened_apps() as opened:
        opened.change(app_id, lambda app: replace(app, is_enabled=True))
    click.echo(f"app {app_id} is enabled")


@apps.command()
@click.argument("app_id")
@told_in_a_sentence
def disable(app_id: str) -> None:
    """Refuse every call of APP_ID, within HANDOFF_TOKEN_CACHE_SECONDS."""
    with opened_apps() as opened:
        opened.change(app_id, lambda app: replace(app, is_enabled=False))
    click.echo(f"app {app_id} is disabled")


@apps.command("callback-secret")
@click.argument("app_id")
@told_in_a_sentence
def callback_secret(app_id: str) -> None:
    """Show what APP_ID's receivers verify callbacks with, newest first."""
    settings = load_settings()
    known_app(settings, app_id)  # whoever enters the secret of a misspelt app verifies nothing with it
    secrets = app_callback_secrets(settings, app_id)
    if not secrets:
        raise SettingsError("callbacks are not signed: set HANDOFF_CALLBACK_SECRETS")
    for secret in secrets:
        click.echo(secret)


@apps.command()
@json_option
@told_in_a_sentence
def seal(*, as_json: bool) -> None:
    """Seal every app's secrets with the newest of HANDOFF_SECRET_KEYS; exit 1 if some cannot be opened."""
    if not load_settings().secret_keys:
        raise SettingsError("there is nothing to seal with: set HANDOFF_SECRET_KEYS")
    with opened_apps() as opened:
        sealed = opened.store.seal_all()
    if as_json:
        click.echo(json.dumps(asdict(sealed)))
    else:
        click.echo(f"{sealed.renewed} secrets sealed with the newest key, {sealed.kept} were so already")
        for app_id in sealed.unopenable:
            click.echo(f"none of HANDOFF_SECRET_KEYS opens the secrets of app {app_id}", err=True)
    if sealed.unopenable:
        sys.exit(1)


@apps.group()
def secret() -> None:
    """Secrets of an app: several may be live, so that a new one can come before the old one goes."""


@secret.command()
@click.argument("app_id")
@_secret_file
@json_option
@told_in_a_sentence
def add(app_id: str, *, secret_file: TextIO | None, as_json: bool) -> None:
    """Give APP_ID another secret, which is its newest then; one that is made is shown this once."""
    given = None if secret_file is None else secret_file.read().strip()
    with opened_apps() as opened:
        app, added = opened.add_secret(app_id, given)
    tell_secret(app, added if given is None else None, f"app {app_id} has {len(app.secrets)} secrets", as_json=as_json)


@secret.command()
@click.argument("app_id")
@click.argument("which", nargs=-1)
@click.option("--older", is_flag=True, help="All but the newest.")
@json_option
@told_in_a_sentence
def drop(app_id: str, which: Sequence[str], *, older: bool, as_json: bool) -> None:
    """Drop secrets of APP_ID, each WHICH by place (1 is the newest) or fingerprint, within seconds everywhere."""
    if older == bool(which):
        raise click.UsageError("name secrets by place or fingerprint, or say --older")
    with opened_apps() as opened:
        app = opened.drop_older_secrets(app_id) if older else opened.drop_secrets(app_id, which)
    tell_secret(app, None, f"app {app_id} has {len(app.secrets)} secrets", as_json=as_json)


@contextmanager
def opened_apps() -> Iterator[Apps]:
    """The apps of the store that the settings name."""
    settings = load_settings()
    prepare_store(settings)
    opened = open_apps(settings)
    try:
        yield opened
    finally:
        opened.store.close()


def tell_secret(app: StoredApp, made: str | None, sentence: str, *, as_json: bool) -> None:
    """Tell what was done, and the secret that was made, this once."""
    if as_json:
        click.echo(json.dumps(app_as_json(app) | ({} if made is None else {"secret": made})))
        return
    click.echo(sentence)
    if made is not None:
        click.echo(f"its new secret, shown this once: {made}")


def _values_of(
    *,
    account: str | None = None,
    name: str | None,
    scopes: Sequence[str],
    streams: Sequence[str],
    algorithms: Sequence[str],
    public_keys: Sequence[TextIO],
    require_exp: bool | None,
    require_jti: bool | None,
) -> dict[str, Any]:
    """What the options say, as an entry of a directory file says it."""
    said = {
        "accountId": account,
        "name": name,
        "scopes": list(scopes) or None,
        "streams": EVERY_STREAM if EVERY_STREAM in streams else list(streams) or None,
        "algorithms": list(algorithms) or None,
        "publicKeys": [file.read() for file in public_keys] or None,
        "requireExp": require_exp,
        "requireJti": require_jti,
    }
    return {field: value for field, value in said.items() if value is not None}


def _changed(app: StoredApp, values: Mapping[str, Any]) -> StoredApp:
    known = [secret.text for secret in app.secrets]
    before = app_as_json(app) | {"secrets": [text for text in known if text is not None]}
    return replace(app_of({**before, **values}), secrets=app.secrets)
