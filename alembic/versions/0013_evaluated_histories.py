"""What an evaluation keeps of a person's history, so that the next import scores only what is new."""

import sqlalchemy as sa
from alembic import op

from service.registry.tables import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLE = "evaluated_histories"
OWNERS = {"subject_id": "subjects", "model_version_id": "model_versions", "dataset_id": "datasets"}


def upgrade() -> None:
    op.create_table(
        TABLE,
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in OWNERS),
        sa.Column("history", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", UtcDateTime(timezone=True), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [name], [f"{owner}.id"], name=op.f(f"fk_{TABLE}_{name}_{owner}"), ondelete="CASCADE"
            )
            for name, owner in OWNERS.items()
        ),
        sa.PrimaryKeyConstraint("subject_id", "model_version_id", name=op.f(f"pk_{TABLE}")),
    )
    for name in ("model_version_id", "dataset_id"):
        op.create_index(op.f(f"ix_{TABLE}_{name}"), TABLE, [name], unique=False)


def downgrade() -> None:
    op.drop_table(TABLE)
