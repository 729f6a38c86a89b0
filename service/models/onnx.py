"""A version's network for other runtimes, made when it is asked for: that takes milliseconds."""

from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.network.onnx import UnsupportedNetwork, to_onnx
from service.errors import Conflict, Unavailable
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.tables import ModelVersion


def onnx_of(store: ArtifactStore, version: ModelVersion) -> bytes:
    """The version's ONNX file; the same version gives the same bytes.

    Raises Conflict for a network that ONNX export does not write, Unavailable when its file is missing or damaged.
    """
    try:
        return to_onnx(Checkpoint.from_bytes(store.read(version.account_id, version.sha256)))
    except UnsupportedNetwork as error:
        raise Conflict("no_onnx", str(error)) from error
    except (ArtifactMissing, ArtifactDamaged, InvalidCheckpoint, OSError) as error:
        detail = f"The file of model version {version.id} is missing or damaged."
        raise Unavailable("model_unavailable", detail, retry_after=60) from error
