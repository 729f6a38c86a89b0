"""A person's whole state per version and dataset in the place of the response and bands per version."""

import base64
import math
import struct
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# The weights that a response had when this migration was written.
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
WEIGHT_VARIANCE = 4.0  # bpm^2: of a weight before the first workout
NOISE = {"wander": 4.0, "own": 16.0, "before": 0.0}
CHUNK = 500
OWNERS = {"subject_id": "subjects", "model_version_id": "model_versions"}

Json = sa.JSON(none_as_null=True)
DATASETS = sa.table(
    "datasets", sa.column("id", sa.Uuid()), sa.column("subject_id", sa.Uuid()), sa.column("ready_at", sa.DateTime())
)
EVALUATIONS = sa.table(
    "evaluations",
    sa.column("model_version_id", sa.Uuid()),
    sa.column("dataset_id", sa.Uuid()),
    sa.column("report", Json),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
OLD = sa.table(
    "trackings",
    sa.column("subject_id", sa.Uuid()),
    sa.column("model_version_id", sa.Uuid()),
    sa.column("response", Json),
    sa.column("intervals", Json),
    sa.column("updated_at", sa.DateTime(timezone=True)),
)
NEW = sa.table(
    "person_states",
    sa.column("subject_id", sa.Uuid()),
    sa.column("model_version_id", sa.Uuid()),
    sa.column("dataset_id", sa.Uuid()),
    sa.column("state", Json),
    sa.column("updated_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    """Keep every response and its bands as a state that serves the same, also those that only reports hold.

    The next import or training job replaces them. Reports stay as they are.
    """
    _create("person_states", {**OWNERS, "dataset_id": "datasets"}, sa.Column("state", Json, nullable=False))
    _move_reports()
    _move_trackings()
    _drop("trackings", "model_version_id")


def downgrade() -> None:
    """Keep the response and the bands of the newest dataset."""
    response, intervals = sa.Column("response", Json, nullable=False), sa.Column("intervals", Json, nullable=True)
    _create("trackings", OWNERS, response, intervals)
    rank = {dataset: place for place, dataset in enumerate(_datasets())}
    newest: dict[tuple[UUID, UUID], Mapping[str, Any]] = {}
    for row in sorted(op.get_bind().execute(sa.select(NEW)).mappings(), key=lambda row: rank[row["dataset_id"]]):
        newest[row["subject_id"], row["model_version_id"]] = row
    for row in newest.values():
        if response := _response(row["state"]):
            kept = {name: row[name] for name in ("subject_id", "model_version_id", "updated_at")}
            values = {"response": response, "intervals": row["state"]["intervals"]}
            op.execute(sa.insert(OLD).values(**kept, **values))
    _drop("person_states", "model_version_id", "dataset_id")


def _move_reports() -> None:
    """What each version knew after each dataset of a subject stood in its report there."""
    tracking = EVALUATIONS.c.report["tracking"].label("tracking")
    columns = (DATASETS.c.subject_id, EVALUATIONS.c.model_version_id, EVALUATIONS.c.dataset_id)
    scored = (
        sa.select(*columns, EVALUATIONS.c.created_at, tracking)
        .join_from(EVALUATIONS, DATASETS, DATASETS.c.id == EVALUATIONS.c.dataset_id)
        .where(DATASETS.c.subject_id.is_not(None))
    )
    for rows in op.get_bind().execute(scored).mappings().partitions(CHUNK):
        states = [
            {name: row[name] for name in ("subject_id", "model_version_id", "dataset_id")}
            | {"state": _state(row["tracking"]), "updated_at": row["created_at"]}
            for row in rows
            if row["tracking"]
        ]
        if states:
            op.get_bind().execute(sa.insert(NEW), states)


def _move_trackings() -> None:
    """A tracking is the state after the newest dataset: of those with a report of the version, else of all."""
    datasets = _datasets()
    rank = {dataset: place for place, dataset in enumerate(datasets)}
    newest = {subject: dataset for dataset, subject in datasets.items()}
    states = op.get_bind().execute(sa.select(NEW.c.subject_id, NEW.c.model_version_id, NEW.c.dataset_id)).all()
    places = {(subject, version): dataset for subject, version, dataset in sorted(states, key=lambda row: rank[row[2]])}
    for row in op.get_bind().execute(sa.select(OLD)).mappings().all():
        key = {name: row[name] for name in ("subject_id", "model_version_id")}
        dataset = places.get((row["subject_id"], row["model_version_id"]), newest.get(row["subject_id"]))
        if dataset is None:  # nothing can have been learned of a person without a dataset
            continue
        own = (NEW.c[name] == value for name, value in key.items())
        op.execute(sa.delete(NEW).where(*own, NEW.c.dataset_id == dataset))
        values = {"dataset_id": dataset, "state": _state(row), "updated_at": row["updated_at"]}
        op.execute(sa.insert(NEW).values(**key, **values))


def _datasets() -> dict[UUID, UUID]:
    """The subject of each personal dataset, in the order in which the datasets became ready."""
    ordered = sa.select(DATASETS.c.id, DATASETS.c.subject_id).where(DATASETS.c.subject_id.is_not(None))
    ordered = ordered.order_by(DATASETS.c.ready_at.asc().nulls_first(), DATASETS.c.id)
    return {row.id: row.subject_id for row in op.get_bind().execute(ordered)}


def _state(tracking: Mapping[str, Any]) -> dict[str, Any]:
    """One filter whose mean and variance are the response's. Without a time of the last workout: it cannot go on."""
    response = tracking["response"]
    variances = [response.get("variance", 0.0), *[WEIGHT_VARIANCE] * (len(WEIGHTS) - 1)]
    mean = [response.get("weights", {}).get(name, 0.0) for name in WEIGHTS]
    covariance = [[variance if i == j else 0.0 for j in range(len(WEIGHTS))] for i, variance in enumerate(variances)]
    only = {"days": NOISE, "mean": mean, "covariance": covariance, "log_likelihood": 0.0}
    return {
        "filters": [only],
        "weights": WEIGHTS,
        "intervals": tracking["intervals"],
        "until": None,
        "workouts": 0,
    }


def _response(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Mean and offset's variance: of one filter as later versions store it, or of a mixture; None: of neither."""
    if covariance := state.get("covariance"):  # base64 of a lower triangle of float64
        (variance,) = struct.unpack_from("<d", base64.b64decode(covariance))
        return {"weights": {name: state["weights"][name] for name in WEIGHTS}, "variance": variance}
    filters = state.get("filters")
    if not filters:
        return None
    most = max(state["log_likelihood"] for state in filters)
    likelihoods = [math.exp(state["log_likelihood"] - most) for state in filters]
    shares = [likelihood / sum(likelihoods) for likelihood in likelihoods]
    pairs = list(zip(shares, filters, strict=True))
    mean = [sum(share * state["mean"][i] for share, state in pairs) for i in range(len(WEIGHTS))]
    variance = sum(share * (state["covariance"][0][0] + (state["mean"][0] - mean[0]) ** 2) for share, state in pairs)
    return {"weights": dict(zip(WEIGHTS, mean, strict=True)), "variance": variance}


def _create(table: str, parents: Mapping[str, str], *columns: sa.Column) -> None:  # type: ignore[type-arg]
    op.create_table(
        table,
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in parents),
        *columns,
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [name], [f"{parent}.id"], name=op.f(f"fk_{table}_{name}_{parent}"), ondelete="CASCADE"
            )
            for name, parent in parents.items()
        ),
        sa.PrimaryKeyConstraint(*parents, name=op.f(f"pk_{table}")),
    )
    for name in list(parents)[1:]:
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name], unique=False)


def _drop(table: str, *indexed: str) -> None:
    for name in indexed:
        op.drop_index(op.f(f"ix_{table}_{name}"), table_name=table)
    op.drop_table(table)
