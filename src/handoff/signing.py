"""The part of the composition root that knows what callbacks are signed with."""

from handoff.delivery.signature import app_secret, parse_secret, show_secret
from handoff.settings import Settings, SettingsError


def signing_secrets(settings: Settings) -> list[bytes]:
    """The masters, newest first; none where signing is off. Raises SettingsError."""
    if settings.callback_signing == "off":
        return []
    try:
        return [parse_secret(secret.get_secret_value()) for secret in settings.callback_secrets]
    except ValueError as error:
        raise SettingsError(f"HANDOFF_CALLBACK_SECRETS: {error}") from None


def app_callback_secrets(settings: Settings, app_id: str) -> list[str]:
    """What an app's receivers verify callbacks with, newest first, as `whsec_…`."""
    return [show_secret(app_secret(master, app_id)) for master in signing_secrets(settings)]
