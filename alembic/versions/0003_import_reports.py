"""Of each workout of a dataset its sport and how densely its heart rate was recorded."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rows from before say running, as other sports were not told apart, and no density."""
    with op.batch_alter_table("dataset_workouts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sport", sa.String(length=50), server_default="running", nullable=False))
        batch_op.add_column(sa.Column("heart_rate_per_minute", sa.Double(), server_default="0", nullable=False))


def downgrade() -> None:
    """Forget them."""
    with op.batch_alter_table("dataset_workouts", schema=None) as batch_op:
        batch_op.drop_column("heart_rate_per_minute")
        batch_op.drop_column("sport")
