"""A tracking (response and bands) in the place of the tracked offset."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The weights that a response had when this migration was written; all but the first start at 0.
WEIGHTS = [
    "level",
    "speed",
    "speed_30s",
    "speed_120s",
    "speed_600s",
    "climb",
    "climb_30s",
    "climb_120s",
    "climb_600s",
    "rise_60s",
    "rise_300s",
    "drift",
    "mean_speed",
    "speed_spread",
    "duration",
    "hilliness",
]
VARIANCE = 14.0  # bpm^2: of an offset that has been followed for some workouts

JOBS = sa.table("jobs", sa.column("id", sa.Uuid()), sa.column("configuration", sa.JSON(none_as_null=True)))
OLD = sa.table(
    "level_offsets",
    sa.column("subject_id", sa.Uuid()),
    sa.column("model_version_id", sa.Uuid()),
    sa.column("offset_bpm", sa.Float(53)),
    sa.column("updated_at", sa.DateTime(timezone=True)),
)
NEW = sa.table(
    "trackings",
    sa.column("subject_id", sa.Uuid()),
    sa.column("model_version_id", sa.Uuid()),
    sa.column("response", sa.JSON(none_as_null=True)),
    sa.column("intervals", sa.JSON(none_as_null=True)),
    sa.column("updated_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    """Keep every offset as the first weight of a response; the next import replays all workouts anyway."""
    _create("trackings", sa.Column("response", sa.JSON(none_as_null=True), nullable=False), _bands())
    for row in op.get_bind().execute(sa.select(OLD)).mappings().all():
        weights = dict.fromkeys(WEIGHTS, 0.0) | {"level": row["offset_bpm"]}
        response = {"weights": weights, "variance": VARIANCE}
        kept = {name: row[name] for name in ("subject_id", "model_version_id", "updated_at")}
        op.execute(sa.insert(NEW).values(**kept, response=response, intervals=None))
    _drop("level_offsets")
    for row in op.get_bind().execute(sa.select(JOBS)).mappings().all():
        if "ridge_refit" in row["configuration"]:  # a job that waits was resolved by the code before
            configuration = {name: value for name, value in row["configuration"].items() if name != "ridge_refit"}
            op.execute(sa.update(JOBS).where(JOBS.c.id == row["id"]).values(configuration=configuration))


def downgrade() -> None:
    """Keep the first weight as the offset."""
    _create("level_offsets", sa.Column("offset_bpm", sa.Float(precision=53), nullable=False))
    for row in op.get_bind().execute(sa.select(NEW)).mappings().all():
        kept = {name: row[name] for name in ("subject_id", "model_version_id", "updated_at")}
        op.execute(sa.insert(OLD).values(**kept, offset_bpm=row["response"].get("weights", {}).get("level", 0.0)))
    _drop("trackings")


def _bands() -> sa.Column[dict[str, object]]:
    return sa.Column("intervals", sa.JSON(none_as_null=True), nullable=True)


def _create(table: str, *columns: sa.Column) -> None:  # type: ignore[type-arg]
    op.create_table(
        table,
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        *columns,
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f(f"fk_{table}_model_version_id_model_versions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"], ["subjects.id"], name=op.f(f"fk_{table}_subject_id_subjects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("subject_id", "model_version_id", name=op.f(f"pk_{table}")),
    )
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.create_index(batch_op.f(f"ix_{table}_model_version_id"), ["model_version_id"], unique=False)


def _drop(table: str) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.drop_index(batch_op.f(f"ix_{table}_model_version_id"))
    op.drop_table(table)
