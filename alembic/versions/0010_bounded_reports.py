"""Reports list a bounded number of files and dropped workouts; a dataset counts all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COUNTS = ("file_count", "problem_count", "unlisted_workouts")


def upgrade() -> None:
    for name in COUNTS:
        op.add_column("datasets", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    files = "SELECT count(*) FROM dataset_files WHERE dataset_files.dataset_id = datasets.id"
    op.execute(f"UPDATE datasets SET file_count = ({files}), problem_count = ({files} AND problem IS NOT NULL)")


def downgrade() -> None:
    for name in COUNTS:
        op.drop_column("datasets", name)
