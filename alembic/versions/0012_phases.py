"""A running job says in which phase it is, how far that is, and how long it will still take."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS = {
    "phase": sa.String(16),
    "phase_done": sa.Float(precision=53),
    "phase_total": sa.Float(precision=53),
    "eta_seconds": sa.Float(precision=53),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("jobs", name)
