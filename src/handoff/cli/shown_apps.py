"""Apps as commands show them: never with a secret."""

from typing import Any, Final

from handoff.service.apps import KeptSecret, StoredApp

# What a directory file says for every stream of the account.
EVERY_STREAM: Final = "*"


def app_as_json(app: StoredApp) -> dict[str, Any]:
    """The app as a directory file says it, but for its secrets."""
    return {
        "appId": app.app_id,
        "accountId": app.account_id,
        "name": app.name,
        "secrets": [
            {"fingerprint": None if secret.text is None else secret.fingerprint, "sealed": secret.is_sealed}
            for secret in app.secrets
        ],
        "publicKeys": list(app.public_keys),
        "algorithms": list(app.algorithms),
        "scopes": list(app.scopes),
        "streams": EVERY_STREAM if app.streams is None else list(app.streams),
        "requireExp": app.require_exp,
        "requireJti": app.require_jti,
        "enabled": app.is_enabled,
    }


def app_as_row(app: StoredApp) -> dict[str, Any]:
    """The app as a row of a table."""
    return {
        "app": app.app_id,
        "account": app.account_id,
        "name": app.name,
        "state": "enabled" if app.is_enabled else "disabled",
        "scopes": ", ".join(app.scopes),
        "streams": "all" if app.streams is None else ", ".join(app.streams),
        "algorithms": ", ".join(app.algorithms),
        "secrets": ", ".join(secret.fingerprint for secret in app.secrets),
    }


def told_secret(secret: KeptSecret) -> str:
    """What may be told of a secret."""
    return secret.fingerprint + ("" if secret.is_sealed else " (in clear)")
