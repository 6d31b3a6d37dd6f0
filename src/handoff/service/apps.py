"""Apps and streams as operators see them: made, changed, and their secrets rotated, at the command line alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from handoff.domain.credentials import fingerprint, needs_secret, refuse_secret
from handoff.domain.model import Stream

UNREADABLE: Final = "(sealed with another key)"


class DirectoryRefusal(Exception):  # noqa: N818 (a refusal)
    """What was asked cannot be done. The message is a sentence that tells why, and what can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSecret:
    """A live secret of an app. `stored` is how the store has it (None: not yet), `text` the secret itself.

    A `text` of None is one that no key opens.
    """

    text: str | None = field(repr=False)
    stored: object = field(default=None, repr=False)
    is_sealed: bool = False

    @property
    def fingerprint(self) -> str:
        """What it is called, since it is never shown."""
        return UNREADABLE if self.text is None else fingerprint(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApp:
    """An app as it stands. `secrets` are newest first; `streams` of None are all of its account."""

    account_id: str
    app_id: str
    name: str = ""
    secrets: tuple[KeptSecret, ...] = ()
    public_keys: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("HS256",)
    scopes: tuple[str, ...] = ()
    streams: tuple[str, ...] | None = ()
    require_exp: bool = False
    require_jti: bool = False
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a sealing found: secrets sealed anew, those that were so already, and the apps that no key opens."""

    renewed: int
    kept: int
    unopenable: Sequence[str]


class AppStore(Protocol):
    """Where apps are. Synchronous."""

    def find(self, account_id: str | None, *, limit: int) -> Sequence[StoredApp]:
        """The apps of an account, or of all, in the order of their keys."""
        ...

    def get(self, app_id: str) -> StoredApp | None:
        """The app with this id, of whatever account."""
        ...

    def create(self, app: StoredApp) -> bool:
        """Write an app that is new; False where its id is taken."""
        ...

    def change(self, app_id: str, change: Callable[[StoredApp], StoredApp]) -> StoredApp | None:
        """Read the app, locked, and write what `change` makes of it; None where there is none."""
        ...

    def seal_all(self) -> Sealed:
        """Seal every secret with the newest key."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


class StreamStore(Protocol):
    """Where streams are. Synchronous."""

    def find(self, account_id: str | None, *, limit: int) -> Sequence[Stream]:
        """The streams of an account, or of all, in the order of their keys."""
        ...

    def put(self, stream: Stream) -> bool:
        """Write the stream, over what there is of it; whether it is new."""
        ...

    def delete(self, account_id: str, stream_id: str) -> int | None:
        """Delete the stream unless sessions of it are not closed; how many are. None where there is no stream."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Apps:
    """What operators may do with apps. `fresh_secret` makes a secret that nobody knows.

    Where a secret is made it is given back, to be shown this once.
    """

    store: AppStore
    fresh_secret: Callable[[], str]

    def get(self, app_id: str) -> StoredApp:
        """The app with this id. Raises DirectoryRefusal."""
        return _found(self.store.get(app_id), app_id)

    def create(self, app: StoredApp) -> tuple[StoredApp, str | None]:
        """Write a new app, with a fresh secret where it needs one and has none. Raises DirectoryRefusal."""
        made = self._made_for(app)
        complete = app if made is None else replace(app, secrets=(KeptSecret(text=made),))
        if not self.store.create(complete):
            raise DirectoryRefusal(f"there is an app {app.app_id} already")
        return complete, made

    def change(self, app_id: str, change: Callable[[StoredApp], StoredApp]) -> tuple[StoredApp, str | None]:
        """Write what `change` makes of the app, completed as a new one is. Raises DirectoryRefusal."""
        made: list[str | None] = [None]

        def completed(app: StoredApp) -> StoredApp:
            changed = change(app)
            made[0] = self._made_for(changed)
            return changed if made[0] is None else replace(changed, secrets=(KeptSecret(text=made[0]),))

        return _found(self.store.change(app_id, completed), app_id), made[0]

    def add_secret(self, app_id: str, given: str | None) -> tuple[StoredApp, str]:
        """Put a secret before the others, a fresh one where none is given. Raises DirectoryRefusal."""
        secret = self.fresh_secret() if given is None else given
        app, _ = self.change(app_id, lambda app: _with(app, secret))
        return app, secret

    def drop_secrets(self, app_id: str, named: Sequence[str]) -> StoredApp:
        """Drop those secrets that are named, by place (1 is the newest) or fingerprint. Raises DirectoryRefusal."""
        return self.change(app_id, lambda app: _without(app, named))[0]

    def drop_older_secrets(self, app_id: str) -> StoredApp:
        """Drop all but the newest secret. Raises DirectoryRefusal."""
        return self.change(app_id, lambda app: replace(app, secrets=app.secrets[:1]))[0]

    def _made_for(self, app: StoredApp) -> str | None:
        return self.fresh_secret() if needs_secret(app.algorithms) and not app.secrets else None


def _found(app: StoredApp | None, app_id: str) -> StoredApp:
    if app is None:
        raise DirectoryRefusal(f"there is no app {app_id}")
    return app


def _with(app: StoredApp, secret: str) -> StoredApp:
    if not needs_secret(app.algorithms):
        raise DirectoryRefusal(f"app {app.app_id} signs with a private key of its own and needs no secret")
    problem = refuse_secret(secret, app.algorithms)
    if problem is not None:
        raise DirectoryRefusal(problem)
    if any(known.text == secret for known in app.secrets):
        raise DirectoryRefusal(f"app {app.app_id} has this secret already")
    return replace(app, secrets=(KeptSecret(text=secret), *app.secrets))


def _without(app: StoredApp, named: Sequence[str]) -> StoredApp:
    dropped = {_place(app, name) for name in named}
    kept = tuple(secret for place, secret in enumerate(app.secrets) if place not in dropped)
    if not kept and needs_secret(app.algorithms):
        raise DirectoryRefusal(f"app {app.app_id} would have no secret left: add one first, or disable the app")
    return replace(app, secrets=kept)


def _place(app: StoredApp, name: str) -> int:
    """Where the secret stands that is called so, from 0."""
    for place, secret in enumerate(app.secrets):
        if name in {secret.fingerprint, str(place + 1)}:
            return place
    raise DirectoryRefusal(f"app {app.app_id} has no secret {name}: `handoff apps show` lists them")
