"""An index that finds the newest evaluation of a version which was scored on thousands of datasets: the base."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAME = "ix_evaluations_model_version_id_created_at_id"


def upgrade() -> None:
    op.create_index(NAME, "evaluations", ["model_version_id", "created_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(NAME, table_name="evaluations")
