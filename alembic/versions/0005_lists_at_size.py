"""Indexes along which lists are read, and one that finds the newest evaluation without its report."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NEW = {
    "ix_subjects_account_id_created_at_id": ("subjects", ["account_id", "created_at", "id"]),
    "ix_jobs_subject_id_created_at_id": ("jobs", ["subject_id", "created_at", "id"]),
    "ix_model_versions_subject_id_created_at_id": ("model_versions", ["subject_id", "created_at", "id"]),
    "ix_evaluations_newest": ("evaluations", ["dataset_id", "model_version_id", "created_at", "id"]),
    "ix_champion_history_subject_id_created_at_id": ("champion_history", ["subject_id", "created_at", "id"]),
}
COVERED = {
    "ix_jobs_subject_id": ("jobs", ["subject_id"]),
    "ix_model_versions_subject_id": ("model_versions", ["subject_id"]),
    "ix_evaluations_dataset_id": ("evaluations", ["dataset_id"]),
}


def upgrade() -> None:
    for name, (table, columns) in NEW.items():
        op.create_index(name, table, columns, unique=False)
    for name, (table, _) in COVERED.items():
        op.drop_index(name, table_name=table)


def downgrade() -> None:
    for name, (table, columns) in COVERED.items():
        op.create_index(name, table, columns, unique=False)
    for name, (table, _) in NEW.items():
        op.drop_index(name, table_name=table)
