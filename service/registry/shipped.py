"""The base model that comes with the software, copied into the artifact folder as a version of no account."""

import json
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from service.registry.artifacts import ArtifactStore
from service.registry.session import Database, insert_ignoring
from service.registry.tables import ModelVersion, Stage

CHECKPOINT, ORIGINAL_FORMAT, DESCRIPTION = "base.safetensors", "base.pt", "base.json"


def install_shipped_base(database: Database, store: ArtifactStore, folder: Path) -> None:
    """Register the base in `folder` (base.safetensors, base.pt, base.json) once per digest."""
    description = json.loads((folder / DESCRIPTION).read_text())
    checkpoint, original_format = (folder / CHECKPOINT).read_bytes(), (folder / ORIGINAL_FORMAT).read_bytes()
    sha256, pt_sha256 = store.put(None, checkpoint), store.put(None, original_format)
    with database.unit_of_work() as session:
        known = select(ModelVersion.id).where(ModelVersion.account_id.is_(None), ModelVersion.sha256 == sha256)
        if session.scalar(known) is not None:
            return
        row = insert_ignoring(session, ModelVersion).values(
            id=UUID(sha256[:32]),  # of the digest: two migrations at once cannot register it twice
            stage=Stage.BASE,
            sha256=sha256,
            size=len(checkpoint),
            pt_sha256=pt_sha256,
            pt_size=len(original_format),
            dataset_digest=description["data_digest"],
            code_version=description["code_version"],
        )
        session.execute(row)
