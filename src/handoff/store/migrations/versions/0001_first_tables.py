"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_agents()
    _create_apps()
    _create_callback_attempts()
    _create_callbacks()
    _index_callbacks()
    _create_idempotency_keys()
    _create_queues()
    _create_sessions()
    _create_streams()
    _create_transfers()


def downgrade() -> None:
    for name in (
        "agents",
        "apps",
        "callback_attempts",
        "callbacks",
        "idempotency_keys",
        "queues",
        "sessions",
        "streams",
        "transfers",
    ):
        op.drop_table(name)


def _create_agents() -> None:
    op.create_table(
        "agents",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("email_id", sa.Text(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("max_sessions", sa.Integer(), nullable=False),
        sa.Column("active_sessions", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("status IN ('AVAILABLE', 'AWAY', 'BUSY', 'OFFLINE')", name=op.f("agents_status_check")),
        sa.CheckConstraint("active_sessions >= 0", name=op.f("agents_active_sessions_check")),
        sa.CheckConstraint("max_sessions >= 0", name=op.f("agents_max_sessions_check")),
        sa.PrimaryKeyConstraint("account_id", "agent_id", name=op.f("agents_pkey")),
        postgresql_with={"fillfactor": 80},
        sqlite_with_rowid=False,
    )


def _create_apps() -> None:
    op.create_table(
        "apps",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secrets", sa.JSON(), nullable=False),
        sa.Column("public_keys", sa.JSON(), nullable=False),
        sa.Column("algorithms", sa.JSON(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("streams", sa.JSON(), nullable=False),
        sa.Column("require_exp", sa.Boolean(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "app_id", name=op.f("apps_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("apps_app_id", "apps", ["app_id"], unique=True)


def _create_callback_attempts() -> None:
    op.create_table(
        "callback_attempts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("callback_id", sa.Text(), nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("remote_address", sa.Text(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "callback_id", "claim", name=op.f("callback_attempts_pkey")),
        sqlite_with_rowid=False,
    )


def _create_callbacks() -> None:
    op.create_table(
        "callbacks",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("callback_id", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("is_retry", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.SmallInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("dead_reason", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'sending', 'delivered', 'dead', 'cancelled')", name=op.f("callbacks_state_check")
        ),
        sa.PrimaryKeyConstraint("account_id", "callback_id", name=op.f("callbacks_pkey")),
        postgresql_with={"fillfactor": 80},
        sqlite_with_rowid=False,
    )


def _index_callbacks() -> None:
    op.create_index(
        "callbacks_due",
        "callbacks",
        ["lane", "is_retry", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "callbacks_leased",
        "callbacks",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "app_id", "key", name=op.f("idempotency_keys_pkey")),
        sqlite_with_rowid=False,
    )


def _create_queues() -> None:
    op.create_table(
        "queues",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("queue_id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "queue_id", name=op.f("queues_pkey")),
        sqlite_with_rowid=False,
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("holder_id", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(holder_id IS NOT NULL) = (state IN ('queue', 'agent'))", name=op.f("sessions_holder_check")
        ),
        sa.CheckConstraint("state IN ('bot', 'queue', 'agent', 'closed')", name=op.f("sessions_state_check")),
        sa.PrimaryKeyConstraint("account_id", "session_id", name=op.f("sessions_pkey")),
        postgresql_with={"fillfactor": 80},
        sqlite_with_rowid=False,
    )


def _create_streams() -> None:
    op.create_table(
        "streams",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "stream_id", name=op.f("streams_pkey")),
        sqlite_with_rowid=False,
    )


def _create_transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("expected_agent_id", sa.Text(), nullable=True),
        sa.Column("previous_state", sa.Text(), nullable=True),
        sa.Column("previous_holder_id", sa.Text(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "transfer_id", name=op.f("transfers_pkey")),
        sqlite_with_rowid=False,
    )
