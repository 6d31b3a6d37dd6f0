"""What agents, queues and sessions are besides a transfer's facts, their history, and the feed of changes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from handoff.service.ports import StoreError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DENSE: Final = {"sqlite_with_rowid": False}
_ROOMY: Final = {"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 80}}
_HAS_EMAIL: Final = sa.text("email_id != ''")
_IS_HELD: Final = sa.text("holder_id IS NOT NULL")


def upgrade() -> None:
    _refuse_shared("user_id", "userId")
    _refuse_shared("email_id", "emailId")
    _extend_agents()
    _extend_queues()
    _extend_sessions()
    op.add_column("transfers", sa.Column("passed_over", sa.Text(), nullable=True))
    op.create_index("transfers_session", "transfers", ["account_id", "session_id", "transfer_id"])
    _create_feed()
    _let_tokens_be_used_once()


def _refuse_shared(column: str, name: str) -> None:
    """Stop before anything is changed where two agents of an account share what must be one's own."""
    agents = sa.table("agents", *(sa.column(part) for part in ("account_id", "org_id", column)))
    shared = sa.select(*agents.c).where(agents.c[column] != "").group_by(*agents.c).having(sa.func.count() > 1).limit(1)
    for account_id, org_id, value in op.get_bind().execute(shared):
        raise StoreError(
            f"in org {org_id} of account {account_id} several agents have the {name} {value}: "
            "give each its own, then migrate again"
        )


def _extend_agents() -> None:
    op.add_column("agents", sa.Column("profile", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("agents", sa.Column("created_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("agents", sa.Column("updated_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("agents", sa.Column("last_online_at", sa.BigInteger(), nullable=True))
    op.create_index("agents_user", "agents", ["account_id", "org_id", "user_id"], unique=True)
    op.create_index("agents_org", "agents", ["account_id", "org_id", "agent_id"])
    op.create_index("agents_custom_id", "agents", ["account_id", "custom_id"])
    op.create_index(
        "agents_email",
        "agents",
        ["account_id", "org_id", "email_id"],
        unique=True,
        sqlite_where=_HAS_EMAIL,
        postgresql_where=_HAS_EMAIL,
    )
    _create_table("agent_skills", key=("account_id", "agent_id", "skill_id"))
    op.create_index("agent_skills_skill", "agent_skills", ["account_id", "skill_id"])


def _extend_queues() -> None:
    op.add_column("queues", sa.Column("profile", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("queues", sa.Column("created_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("queues", sa.Column("updated_at", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("queues_org", "queues", ["account_id", "org_id", "queue_id"])
    is_preferred: sa.Column[bool] = sa.Column("is_preferred", sa.Boolean(), nullable=False)
    _create_table("queue_agents", is_preferred, key=("account_id", "queue_id", "agent_id"))
    op.create_index("queue_agents_agent", "queue_agents", ["account_id", "agent_id"])


def _extend_sessions() -> None:
    # Sessions that are there already get an id made of their own: there is no time for it to grow with.
    op.add_column("sessions", sa.Column("conversation_id", sa.Text(), server_default="", nullable=False))
    op.execute("UPDATE sessions SET conversation_id = 'c-' || session_id")
    op.add_column("sessions", sa.Column("source", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("language", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("profile", sa.JSON(), nullable=True))
    op.add_column("sessions", sa.Column("opened_at", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index("sessions_conversation", "sessions", ["account_id", "conversation_id"], unique=True)
    op.create_index(
        "sessions_held",
        "sessions",
        ["account_id", "conversation_id", "holder_id"],
        sqlite_where=_IS_HELD,
        postgresql_where=_IS_HELD,
    )


def _create_feed() -> None:
    position = sa.Column("position", sa.BigInteger(), nullable=False)
    _create_table("event_heads", position, key=("account_id",), options=_ROOMY)
    _create_table(
        "events",
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Text(), nullable=True),
        sa.Column("previous_agent_id", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        key=("account_id", "position"),
    )


def _let_tokens_be_used_once() -> None:
    op.add_column("apps", sa.Column("require_jti", sa.Boolean(), server_default=sa.false(), nullable=False))
    expires_at = sa.Column("expires_at", sa.BigInteger(), nullable=False)
    _create_table("used_tokens", expires_at, key=("account_id", "app_id", "jti_digest"))
    op.create_index("used_tokens_expiry", "used_tokens", ["account_id", "expires_at"])


def _create_table(name: str, *columns: sa.Column[Any], key: Sequence[str], options: Mapping[str, Any] = _DENSE) -> None:
    """A table whose key columns are texts, but for those that are given."""
    given = {column.name for column in columns}
    texts = [sa.Column(part, sa.Text(), nullable=False) for part in key if part not in given]
    op.create_table(name, *texts, *columns, sa.PrimaryKeyConstraint(*key, name=op.f(f"{name}_pkey")), **options)


def downgrade() -> None:
    for name in ("used_tokens", "events", "event_heads", "queue_agents", "agent_skills"):
        op.drop_table(name)
    op.drop_column("apps", "require_jti")
    op.drop_index("transfers_session", "transfers")
    op.drop_column("transfers", "passed_over")
    for name in ("sessions_held", "sessions_conversation"):
        op.drop_index(name, "sessions")
    for name in ("conversation_id", "source", "language", "profile", "opened_at"):
        op.drop_column("sessions", name)
    op.drop_index("queues_org", "queues")
    for name in ("agents_user", "agents_org", "agents_custom_id", "agents_email"):
        op.drop_index(name, "agents")
    for table in ("queues", "agents"):
        for name in ("profile", "created_at", "updated_at"):
            op.drop_column(table, name)
    op.drop_column("agents", "last_online_at")
