"""The tables of the outbox: messages and the attempts that were made to post them."""

from sqlalchemy import (
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

from handoff.store.metadata import DENSE, ROOMY, metadata

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
    **ROOMY,
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
    **DENSE,
)
