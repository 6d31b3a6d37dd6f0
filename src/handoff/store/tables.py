"""The tables. Every primary key begins with the account; times are epoch milliseconds.

Keys of rows that are only ever appended grow with time (UUIDv7), so that inserts touch the end of one index.
SQLite keeps each table in its primary key's own tree (WITHOUT ROWID): one tree to search and to write, not two.
"""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    false,
)

metadata = MetaData(naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"})

# Rows that change often get room on their page, so that PostgreSQL can update them in place.
_ROOMY: Final[dict[str, Any]] = {"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 80}}
_DENSE: Final[dict[str, Any]] = {"sqlite_with_rowid": False}

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
    **_DENSE,
)

streams = Table(
    "streams",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("stream_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    PrimaryKeyConstraint("account_id", "stream_id"),
    **_DENSE,
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
    **_ROOMY,
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
    **_DENSE,
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
    **_DENSE,
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
    **_DENSE,
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
    **_ROOMY,
)

sessions_held = Index(
    "sessions_held",
    sessions.c.account_id,
    sessions.c.holder_id,
    sessions.c.conversation_id,
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
    **_DENSE,
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
    **_DENSE,
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("callback_id", Text, nullable=False),
    Column("transfer_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("due_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    # whether it was tried before: first attempts have a right of way
    Column("is_retry", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # leases so far; it numbers the attempts
    Column("claims", Integer, nullable=False, server_default="0"),
    # leases in a row that ended without an attempt
    Column("lost_leases", Integer, nullable=False, server_default="0"),
    Column("lease_token", Text, nullable=True),
    Column("lease_until", BigInteger, nullable=True),
    Column("last_status", SmallInteger, nullable=True),
    Column("last_error", Text, nullable=True),
    Column("dead_reason", Text, nullable=True),
    Column("ended_at", BigInteger, nullable=True),
    PrimaryKeyConstraint("account_id", "callback_id"),
    CheckConstraint("state IN ('pending', 'sending', 'delivered', 'dead', 'cancelled')", name="state"),
    **_ROOMY,
)

callbacks_due = Index(
    "callbacks_due",
    callbacks.c.lane,
    callbacks.c.is_retry,
    callbacks.c.due_at,
    sqlite_where=callbacks.c.state == "pending",
    postgresql_where=callbacks.c.state == "pending",
)
callbacks_leased = Index(
    "callbacks_leased",
    callbacks.c.lease_until,
    sqlite_where=callbacks.c.state == "sending",
    postgresql_where=callbacks.c.state == "sending",
)
callbacks_dead = Index(
    "callbacks_dead",
    callbacks.c.account_id,
    callbacks.c.callback_id,
    sqlite_where=callbacks.c.state == "dead",
    postgresql_where=callbacks.c.state == "dead",
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
    **_DENSE,
)

# The last position given out in each account's feed. The row is locked from there to the commit: that is what
# makes positions follow the order of commits, without gaps, however many processes write.
event_heads = Table(
    "event_heads",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("account_id"),
    **_ROOMY,
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
    **_DENSE,
)

callback_attempts = Table(
    "callback_attempts",
    metadata,
    Column("account_id", Text, nullable=False),
    Column("callback_id", Text, nullable=False),
    # the claim that the attempt was made under, counted from 1: a lost lease leaves a gap
    Column("claim", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=True),
    Column("error", Text, nullable=True),
    Column("detail", Text, nullable=True),
    Column("remote_address", Text, nullable=True),
    Column("excerpt", Text, nullable=True),
    PrimaryKeyConstraint("account_id", "callback_id", "claim"),
    **_DENSE,
)
