"""Apps for operators: listed, made, changed, and their secrets sealed anew."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine, Select, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from handoff.domain.credentials import needs_secret, refuse_secret
from handoff.service.apps import KeptSecret, Sealed, StoredApp
from handoff.service.importing import FreshSecret
from handoff.service.ports import Unwritable
from handoff.store.accounts import accounts_in
from handoff.store.errors import translated
from handoff.store.sealing import Seals, StoredSecret, Unopenable, is_sealed
from handoff.store.tables import apps

# Apps of one transaction of a sealing: requests that read them meanwhile do not wait, those that change them do.
_PAGE: Final = 100

_of_account: Final = apps.c.account_id == bindparam("account")
_one: Final = select(apps).where(apps.c.app_id == bindparam("app"))
_this: Final = select(apps.c.secrets).where(_of_account, apps.c.app_id == bindparam("app"))
_page: Final = (
    select(apps).where(_of_account, apps.c.app_id > bindparam("after")).order_by(apps.c.app_id).limit(bindparam("rows"))
)
_renew: Final = (
    update(apps)
    .where(_of_account, apps.c.app_id == bindparam("app"))
    .values({column.name: bindparam(f"new_{column.name}") for column in apps.c if not column.primary_key})
)
_reseal: Final = (
    update(apps)
    .where(_of_account, apps.c.app_id == bindparam("app"))
    .values(secrets=bindparam("new_secrets", type_=apps.c.secrets.type))
)


def _bring(insert: Any) -> Any:  # noqa: ANN401 (two dialects' Insert)
    statement = insert(apps)
    renewed = {column.name: statement.excluded[column.name] for column in apps.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(apps.primary_key), set_=renewed)


_BRING: Final = {"sqlite": _bring(sqlite.insert), "postgresql": _bring(postgresql.insert)}


class SqlApps:
    """See `handoff.service.apps.AppStore`. Each call is a transaction of its own."""

    def __init__(self, engine: Engine, seals: Seals) -> None:
        self._engine = engine
        self._seals = seals

    def find(self, account_id: str | None, *, limit: int) -> Sequence[StoredApp]:
        """The apps of an account, or of all, in the order of their keys."""
        found: list[StoredApp] = []
        with translated(), self._engine.begin() as connection:
            for account in accounts_in(connection, apps, account_id):
                params = {"account": account, "after": "", "rows": limit - len(found)}
                found += [self._app(row) for row in connection.execute(_page, params).mappings()]
                if len(found) == limit:
                    break
        return found

    def get(self, app_id: str) -> StoredApp | None:
        """The app with this id, of whatever account."""
        with translated(), self._engine.begin() as connection:
            row = connection.execute(_one, {"app": app_id}).mappings().first()
        return None if row is None else self._app(row)

    def create(self, app: StoredApp) -> bool:
        """Write an app that is new; False where its id is taken."""
        try:
            with translated(), self._engine.begin() as connection:
                connection.execute(insert(apps), self._row(app))
        except Unwritable:
            if self.get(app.app_id) is None:
                raise
            return False
        return True

    def change(self, app_id: str, change: Callable[[StoredApp], StoredApp]) -> StoredApp | None:
        """Read the app, locked, and write what `change` makes of it; None where there is none."""
        with translated(), self._engine.begin() as connection:
            row = connection.execute(_locked(_one), {"app": app_id}).mappings().first()
            if row is None:
                return None
            changed = change(self._app(row))
            values = {f"new_{name}": value for name, value in self._row(changed).items()}
            connection.execute(_renew, values | {"account": changed.account_id, "app": app_id})
        return changed

    def seal_all(self) -> Sealed:
        """Seal every secret with the newest key, some apps in each transaction."""
        renewed, kept, unopenable = 0, 0, list[str]()
        with translated(), self._engine.begin() as connection:
            accounts = list(accounts_in(connection, apps))
        for account in accounts:
            after: str | None = ""
            while after is not None:
                with translated(), self._engine.begin() as connection:
                    params = {"account": account, "after": after, "rows": _PAGE}
                    rows = connection.execute(_locked(_page), params).mappings().all()
                    for row in rows:
                        found = self._sealed_anew(connection, row)
                        renewed, kept = renewed + found.renewed, kept + found.kept
                        unopenable += found.unopenable
                after = rows[-1]["app_id"] if len(rows) == _PAGE else None
        return Sealed(renewed=renewed, kept=kept, unopenable=unopenable)

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()

    def _sealed_anew(self, connection: Connection, row: RowMapping) -> Sealed:
        account_id, app_id, before = row["account_id"], row["app_id"], row["secrets"]
        try:
            after = [stored if self._seals.is_newest(stored) else self._anew(row, stored) for stored in before]
        except Unopenable:
            return Sealed(renewed=0, kept=0, unopenable=[app_id])
        renewed = sum(one is not other for one, other in zip(before, after, strict=True))
        if renewed:
            connection.execute(_reseal, {"account": account_id, "app": app_id, "new_secrets": after})
        return Sealed(renewed=renewed, kept=len(before) - renewed, unopenable=())

    def _anew(self, row: RowMapping, stored: StoredSecret) -> StoredSecret:
        key = row["account_id"], row["app_id"]
        return self._seals.seal(*key, self._seals.open(*key, stored))

    def _app(self, row: RowMapping) -> StoredApp:
        return StoredApp(
            account_id=row["account_id"],
            app_id=row["app_id"],
            name=row["name"],
            secrets=tuple(self._secret(row, stored) for stored in row["secrets"]),
            public_keys=tuple(row["public_keys"]),
            algorithms=tuple(row["algorithms"]),
            scopes=tuple(row["scopes"]),
            streams=None if row["streams"] == "*" else tuple(row["streams"]),
            require_exp=row["require_exp"],
            require_jti=row["require_jti"],
            is_enabled=row["is_enabled"],
        )

    def _secret(self, row: RowMapping, stored: StoredSecret) -> KeptSecret:
        text = self._seals.peek(row["account_id"], row["app_id"], stored)
        return KeptSecret(text=text, stored=stored, is_sealed=is_sealed(stored))

    def _row(self, app: StoredApp) -> Mapping[str, Any]:
        return {
            "account_id": app.account_id,
            "app_id": app.app_id,
            "name": app.name,
            "secrets": [self._stored(app, secret) for secret in app.secrets],
            "public_keys": list(app.public_keys),
            "algorithms": list(app.algorithms),
            "scopes": list(app.scopes),
            "streams": "*" if app.streams is None else list(app.streams),
            "require_exp": app.require_exp,
            "require_jti": app.require_jti,
            "is_enabled": app.is_enabled,
        }

    def _stored(self, app: StoredApp, secret: KeptSecret) -> object:
        if secret.stored is not None or secret.text is None:
            return secret.stored
        return self._seals.seal(app.account_id, app.app_id, secret.text)


def bring_apps(
    connection: Connection, seals: Seals, rows: Sequence[Mapping[str, Any]], fresh_secret: Callable[[], str]
) -> Sequence[FreshSecret]:
    """Insert or renew apps. One that needs a secret and is given none keeps its own, or gets a fresh one, told here."""
    made: list[FreshSecret] = []
    for row in rows:
        known = connection.execute(_locked(_this), {"account": row["account_id"], "app": row["app_id"]}).scalar()
        secrets, fresh = _secrets_for(row, known or [], seals, fresh_secret)
        connection.execute(_BRING[connection.dialect.name], {**row, "secrets": secrets})
        if fresh is not None:
            made.append(FreshSecret(account_id=row["account_id"], app_id=row["app_id"], secret=fresh))
    return made


def _secrets_for(
    row: Mapping[str, Any], known: Sequence[StoredSecret], seals: Seals, fresh_secret: Callable[[], str]
) -> tuple[Sequence[StoredSecret], str | None]:
    """The app's secrets as they are to be stored, and the one that was made for it."""
    key = row["account_id"], row["app_id"]
    texts = [seals.peek(*key, stored) for stored in known]
    if row["secrets"]:
        as_stored = {text: stored for text, stored in zip(texts, known, strict=True) if seals.is_newest(stored)}
        return [as_stored.get(secret) or seals.seal(*key, secret) for secret in row["secrets"]], None
    if not needs_secret(row["algorithms"]):
        return [], None
    problems = [refuse_secret(text, row["algorithms"]) for text in texts if text is not None]
    if any(problems):
        raise Unwritable(f"secrets: those that the app has will not do: {next(filter(None, problems))}")
    if known:
        return known, None
    fresh = fresh_secret()
    return [seals.seal(*key, fresh)], fresh


def _locked(wanted: Select[Any]) -> Select[Any]:
    """Locked until the transaction ends, where the database has row locks; SQLite's began with the write lock."""
    return wanted.with_for_update()
