"""What operators need of callbacks: a budget that can be renewed, and dead ones found without a search."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("callbacks", sa.Column("lost_leases", sa.Integer(), server_default="0", nullable=False))
    op.execute("UPDATE callbacks SET lost_leases = claims - attempts WHERE state = 'pending' AND claims > attempts")
    op.create_index(
        "callbacks_dead",
        "callbacks",
        ["account_id", "callback_id"],
        unique=False,
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )


def downgrade() -> None:
    op.drop_index("callbacks_dead", "callbacks")
    op.drop_column("callbacks", "lost_leases")
