"""Sessions, transfers and streams of whatever account, for those who may see them all."""

from collections.abc import Iterator
from contextlib import contextmanager

from handoff.domain.ids import is_id
from handoff.domain.model import Stream
from handoff.migrating import prepare_store
from handoff.service.conversations import Conversations, NotFound, SessionNotFound, StoredConversation
from handoff.service.history import History
from handoff.service.scope import Scope
from handoff.settings import Settings, SettingsError
from handoff.stores import open_conversations


@contextmanager
def opened_conversations(settings: Settings) -> Iterator[tuple[Conversations, History]]:
    """The stored conversations and transfers. Raises SettingsError for what is not there, and StoreError."""
    prepare_store(settings)
    opened = open_conversations(settings)
    try:
        yield opened
    except NotFound as missing:
        raise SettingsError(missing.sentence) from None
    finally:
        opened[0].store.close()


def find_session(opened: Conversations, session_id: str, account: str | None) -> StoredConversation:
    """The session. Raises SessionNotFound, and SettingsError where several accounts have one of this id."""
    accounts = ([account] if account else opened.store.accounts()) if is_id(session_id) else ()
    found = [one for name in accounts if (one := opened.store.of_session(Scope(account_id=name), session_id))]
    if not found:
        raise SessionNotFound(f"There is no session {session_id}.")
    if len(found) > 1:
        raise SettingsError(f"{len(found)} accounts have a session {session_id}: name one with --account")
    return found[0]


def find_stream(opened: Conversations, stream_id: str, account: str | None) -> Stream:
    """The stream. Raises SettingsError where there is none, or several accounts have one of this id."""
    found = [one for one in opened.store.streams(stream_id) if account in {None, one.account_id}]
    if not found:
        raise SettingsError(f"There is no stream {stream_id}.")
    if len(found) > 1:
        raise SettingsError(f"{len(found)} accounts have a stream {stream_id}: name one with --account")
    return found[0]
