"""Fleets: a parent without a dataset, and lanes that take turns."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STAGES = "'import', 'base', 'stage1', 'stage2'"


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lane", sa.Uuid(), nullable=True))
        batch_op.alter_column("dataset_id", existing_type=sa.Uuid(), nullable=True)
        batch_op.drop_constraint(op.f("ck_jobs_stage"), type_="check")
        batch_op.create_check_constraint(op.f("ck_jobs_stage"), f"stage IN ({STAGES}, 'fleet')")
        batch_op.create_check_constraint(
            op.f("ck_jobs_dataset_unless_fleet"), "(stage = 'fleet') = (dataset_id IS NULL)"
        )
        batch_op.drop_index("ix_jobs_parent_id")
        batch_op.create_index("ix_jobs_parent_id_created_at_id", ["parent_id", "created_at", "id"], unique=False)
    op.execute("UPDATE jobs SET lane = account_id")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.alter_column("lane", existing_type=sa.Uuid(), nullable=False)
        batch_op.create_index("ix_jobs_lane_started_at", ["lane", "started_at"], unique=False)
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_model_versions_stage"), type_="check")
        batch_op.create_check_constraint(op.f("ck_model_versions_stage"), f"stage IN ({STAGES}, 'fleet')")


def downgrade() -> None:
    """Fleets end; their jobs stay as jobs of their own."""
    op.execute("UPDATE jobs SET parent_id = NULL")
    op.execute("DELETE FROM jobs WHERE stage = 'fleet'")
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_model_versions_stage"), type_="check")
        batch_op.create_check_constraint(op.f("ck_model_versions_stage"), f"stage IN ({STAGES})")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_lane_started_at")
        batch_op.drop_index("ix_jobs_parent_id_created_at_id")
        batch_op.create_index("ix_jobs_parent_id", ["parent_id"], unique=False)
        batch_op.drop_constraint(op.f("ck_jobs_dataset_unless_fleet"), type_="check")
        batch_op.drop_constraint(op.f("ck_jobs_stage"), type_="check")
        batch_op.create_check_constraint(op.f("ck_jobs_stage"), f"stage IN ({STAGES})")
        batch_op.alter_column("dataset_id", existing_type=sa.Uuid(), nullable=False)
        batch_op.drop_column("lane")
