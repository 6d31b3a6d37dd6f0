"""`handoff token`: a token of an app, to try a call with."""

import time

import click
import jwt

from handoff.cli.common import load_settings, told_in_a_sentence
from handoff.domain.claims import LONGEST_SINGLE_USE_S
from handoff.domain.credentials import HMAC_ALGORITHMS
from handoff.domain.model import App
from handoff.settings import Settings, SettingsError
from handoff.stores import open_directory
from handoff.system import SystemIds


@click.command()
@click.argument("app_id")
@click.option(
    "--expires-in",
    type=click.IntRange(0),
    default=3_600,
    show_default=True,
    help="Seconds until the token expires; 0: never, as in the documented sample.",
)
@told_in_a_sentence
def token(app_id: str, expires_in: int) -> None:
    """Make a token for APP_ID with its newest secret."""
    click.echo(mint_token(load_settings(), app_id, expires_in))


def mint_token(settings: Settings, app_id: str, expires_in: int) -> str:
    """A token of the app, signed with its newest secret; `expires_in` in seconds, 0 for never. Raises SettingsError."""
    app = known_app(settings, app_id)
    algorithm = next((name for name in app.algorithms if name in HMAC_ALGORITHMS), None)
    if algorithm is None:
        raise SettingsError(f"app {app_id} signs with a private key of its own, which is not stored here")
    claims: dict[str, object] = {"appId": app_id}
    if app.require_jti:
        if not 0 < expires_in <= LONGEST_SINGLE_USE_S:
            raise SettingsError(f"tokens of app {app_id} can be used once and expire within an hour: see --expires-in")
        claims["jti"] = SystemIds().fresh()
    if expires_in:
        now_s = int(time.time())  # noqa: TID251 (a command is its own composition root)
        claims |= {"iat": now_s, "exp": now_s + expires_in}
    return jwt.encode(claims, app.secrets[0], algorithm)


def known_app(settings: Settings, app_id: str) -> App:
    """The app with this id. Raises SettingsError that says how to make one."""
    directory = open_directory(settings)
    try:
        app = directory.find_app(app_id)
    finally:
        directory.close()
    if app is None:
        raise SettingsError(
            f"there is no app {app_id}: make it with `handoff apps create` or bring it in with `handoff import`"
        )
    return app
