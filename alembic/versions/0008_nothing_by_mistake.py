"""Who this database is, files that are to go, and backups that read; resume checkpoints of ended jobs are to go."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ENDED = "state IN ('succeeded', 'failed', 'cancelled')"


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.Uuid(), nullable=False),
        sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "leftovers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leftovers")),
    )
    op.create_index("ix_leftovers_account_id_id", "leftovers", ["account_id", "id"], unique=False)
    op.create_table(
        "backup_pins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("until", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_pins")),
    )
    _drop_resume_checkpoints()


def _drop_resume_checkpoints() -> None:
    now = sa.bindparam("now", datetime.now(UTC), sa.DateTime(timezone=True))
    for column in ("latest_sha256", "previous_sha256"):
        those = f"FROM jobs WHERE {column} IS NOT NULL AND {ENDED}"
        to_go = f"INSERT INTO leftovers (account_id, sha256, created_at) SELECT account_id, {column}, :now {those}"
        op.execute(sa.text(to_go).bindparams(now))
    op.execute(f"UPDATE jobs SET latest_sha256 = NULL, previous_sha256 = NULL WHERE {ENDED}")


def downgrade() -> None:
    """Files that were to go stay until the daily sweep of the version before."""
    op.drop_table("backup_pins")
    op.drop_index("ix_leftovers_account_id_id", table_name="leftovers")
    op.drop_table("leftovers")
    op.drop_table("installation")
