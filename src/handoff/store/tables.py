"""The tables. Every primary key begins with the account; times are epoch milliseconds.

Keys of rows that are only ever appended grow with time (UUIDv7), so that inserts touch the end of one index.
SQLite keeps each table in its primary key's own tree (WITHOUT ROWID): one tree to search and to write, not two.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    false,
)

from handoff.store.metadata import DENSE, ROOMY
from handoff.store.metadata import metadata as metadata
from handoff.store.outbox_tables import callback_attempts as callback_attempts
from handoff.store.outbox_tables import callbacks as callbacks
from handoff.store.outbox_tables import callbacks_dead as callbacks_dead
from handoff.store.outbox_tables import callbacks_due as callbacks_due
from handoff.store.outbox_tables import callbacks_leased as callbacks_leased

apps = Table(
    "apps",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("secrets", JSON, nullable=False),
    Column("public_keys", JSON, nullable=False),
    Column("algorithms", JSON, nullable=False),
    Column("scopes", JSON, nullable=False),
    # a list of streams, or "*": every stream of the account
    Column("streams", JSON, nullable=False),
    Column("require_exp", Boolean, nullable=False),
    Column("require_jti", Boolean, nullable=False, server_default=false()),
    Column("is_enabled", Boolean, nullable=False),
    PrimaryKeyConstraint("account_id", "app_id"),
    # A token names its app only, so an app's id is unique across accounts.
    Index("apps_app_id", "app_id", unique=True),
    **DENSE,
)

streams = Table(
    "streams",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "stream_id"),
    **DENSE,
)

agents = Table(
    "agents",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("email_id", Text, nullable=False),
    Column("custom_id", Text, nullable=True),
    Column("status", Text, nullable=False),
    Column("status_expires_at", BigInteger, nullable=True),
    Column("max_sessions", Integer, nullable=False),
    Column("active_sessions", Integer, nullable=False, server_default="0"),
    # what the vendor's documents call an agent's, is kept as it was sent and has no meaning here
    Column("profile", JSON, nullable=False, server_default="{}"),
    Column("created_at", BigInteger, nullable=False, server_default="0"),
    Column("updated_at", BigInteger, nullable=False, server_default="0"),
    # since when the agent has last been anything but OFFLINE
    Column("last_online_at", BigInteger, nullable=True),
    PrimaryKeyConstraint("account_id", "agent_id"),
    CheckConstraint("status IN ('AVAILABLE', 'AWAY', 'BUSY', 'OFFLINE')", name="status"),
    CheckConstraint("max_sessions >= 0", name="max_sessions"),
    CheckConstraint("active_sessions >= 0", name="active_sessions"),
    Index("agents_user", "account_id", "org_id", "user_id", unique=True),
    Index("agents_org", "account_id", "org_id", "agent_id"),
    Index("agents_custom_id", "account_id", "custom_id"),
    **ROOMY,
)

agents_email = Index(
    "agents_email",
    agents.c.account_id,
    agents.c.org_id,
    agents.c.email_id,
    unique=True,
    sqlite_where=agents.c.email_id != "",
    postgresql_where=agents.c.email_id != "",
)

# Skills have no table: they are the ids that agents name.
agent_skills = Table(
    "agent_skills",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("skill_id", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "agent_id", "skill_id"),
    Index("agent_skills_skill", "account_id", "skill_id"),
    **DENSE,
)

queues = Table(
    "queues",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("queue_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("profile", JSON, nullable=False, server_default="{}"),
    Column("created_at", BigInteger, nullable=False, server_default="0"),
    Column("updated_at", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("account_id", "queue_id"),
    Index("queues_org", "account_id", "org_id", "queue_id"),
    **DENSE,
)

queue_agents = Table(
    "queue_agents",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("queue_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("is_preferred", Boolean, nullable=False),
    PrimaryKeyConstraint("account_id", "queue_id", "agent_id"),
    Index("queue_agents_agent", "account_id", "agent_id"),
    **DENSE,
)

sessions = Table(
    "sessions",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("holder_id", Text, nullable=True),
    Column("version", BigInteger, nullable=False),
    # the transfer by which the present holder got the session; of one that is closed, the one that closed it
    Column("transfer_id", Text, nullable=True),
    # the same conversation by the vendor's other id; it grows with time
    Column("conversation_id", Text, nullable=False),
    Column("source", Text, nullable=True),
    Column("language", Text, nullable=True),
    Column("profile", JSON, nullable=True),
    Column("opened_at", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("account_id", "session_id"),
    CheckConstraint("state IN ('bot', 'queue', 'agent', 'closed')", name="state"),
    CheckConstraint("(holder_id IS NOT NULL) = (state IN ('queue', 'agent'))", name="holder"),
    Index("sessions_conversation", "account_id", "conversation_id", unique=True),
    **ROOMY,
)

# Who holds what, in the order of time and not by holder: what a batch moves stands together there. By holder, each of
# its sessions would change a page of its own, and that would be a quarter of all that a batch costs.
sessions_held = Index(
    "sessions_held",
    sessions.c.account_id,
    sessions.c.conversation_id,
    sessions.c.holder_id,
    sqlite_where=sessions.c.holder_id.is_not(None),
    postgresql_where=sessions.c.holder_id.is_not(None),
)

transfers = Table(
    "transfers",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("transfer_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    # agent or queue; bot for a release, closed for a close, both with the empty id
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("expected_agent_id", Text, nullable=True),
    Column("previous_state", Text, nullable=True),
    Column("previous_holder_id", Text, nullable=True),
    Column("status", SmallInteger, nullable=False),
    Column("code", Text, nullable=True),
    Column("version", BigInteger, nullable=True),
    Column("completed_at", BigInteger, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    # other targets that were named and could not be taken, as JSON: [[kind, id, code], …]
    Column("passed_over", Text, nullable=True),
    PrimaryKeyConstraint("account_id", "transfer_id"),
    # Session ids of the vendor's begin with their time, so this one grows at its end too.
    Index("transfers_session", "account_id", "session_id", "transfer_id"),
    **DENSE,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("transfer_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "app_id", "key"),
    **DENSE,
)

# Tokens that can be used once only and were, until nobody takes them any more.
used_tokens = Table(
    "used_tokens",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    # SHA-256 of the claim, so that what is kept cannot make a token and has one length
    Column("jti_digest", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id", "app_id", "jti_digest"),
    Index("used_tokens_expiry", "account_id", "expires_at"),
    **DENSE,
)

# The last position given out in each account's feed. The row is locked from there to the commit: that is what
# makes positions follow the order of commits, without gaps, however many processes write.
event_heads = Table(
    "event_heads",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id"),
    **ROOMY,
)

events = Table(
    "events",
    metadata,
    Column("account_id", Text, nullable=False),
    # counted from 1 within the account, in the order of commits
    Column("position", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    # the stream of a session's event; of an agent's, none
    Column("stream_id", Text, nullable=True),
    # the agent concerned, and the one who had the session before
    Column("agent_id", Text, nullable=True),
    Column("previous_agent_id", Text, nullable=True),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "position"),
    **DENSE,
)
