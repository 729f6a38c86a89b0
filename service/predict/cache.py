"""An LRU cache of predictors; concurrent requests for a version load it once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from uuid import UUID

from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor
from service.errors import Conflict, Unavailable
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.tables import ModelVersion

MAX_BYTES = 500 * 1024**2
MAX_MODELS = 2000
OVERHEAD_BYTES = 500 * 1024  # of one predictor beside its file: the weights once more, packed, and their graph


class ModelCache:
    """Predictors by version, within a number of bytes and of models. Safe for threads."""

    def __init__(
        self,
        store: ArtifactStore,
        *,
        max_bytes: int = MAX_BYTES,
        max_models: int = MAX_MODELS,
        on_use: Callable[[str], None] = lambda _: None,
        on_fill: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        """`on_use` is called with hit, miss or load, `on_fill` with the number of models and their bytes."""
        self._store, self._max_bytes, self._max_models = store, max_bytes, max_models
        self._on_use, self._on_fill = on_use, on_fill
        self._lock = threading.Lock()
        self._ready: OrderedDict[UUID, Predictor] = OrderedDict()
        self._sizes: dict[UUID, int] = {}
        self._bytes = 0
        self._loading: dict[UUID, Future[Predictor]] = {}

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def bytes(self) -> int:
        """Approximate bytes of all predictors."""
        return self._bytes

    def ready(self, version_id: UUID) -> Predictor | None:
        """The version's predictor, if it is in memory."""
        with self._lock:
            return self._recent(version_id)

    def get(self, version: ModelVersion) -> Predictor:
        """The version's predictor, from memory or its file. Raises Unavailable when the file is gone or damaged."""
        with self._lock:
            if (predictor := self._recent(version.id)) is not None:
                return predictor
            self._on_use("miss")
            future = self._loading.get(version.id)
            is_loader = future is None
            if future is None:
                future = self._loading[version.id] = Future()
        if is_loader:
            self._load(version, future)
        return future.result()

    def forget(self, version_ids: Collection[UUID]) -> None:
        """Drop versions that were deleted."""
        with self._lock:
            for version_id in version_ids:
                self._drop(version_id)
            self._on_fill(len(self), self._bytes)

    def _recent(self, version_id: UUID) -> Predictor | None:
        if (predictor := self._ready.get(version_id)) is not None:
            self._ready.move_to_end(version_id)
            self._on_use("hit")
        return predictor

    def _load(self, version: ModelVersion, future: Future[Predictor]) -> None:
        try:
            predictor = load_predictor(self._store, version)
        except BaseException as error:
            with self._lock:
                del self._loading[version.id]
            future.set_exception(error)
            return
        with self._lock:
            del self._loading[version.id]
            self._on_use("load")
            self._keep(version.id, predictor, version.size + OVERHEAD_BYTES)
        future.set_result(predictor)

    def _keep(self, version_id: UUID, predictor: Predictor, size: int) -> None:
        self._ready[version_id], self._sizes[version_id] = predictor, size
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._ready) > self._max_models:
            self._drop(next(iter(self._ready)))
        self._on_fill(len(self), self._bytes)

    def _drop(self, version_id: UUID) -> None:
        self._ready.pop(version_id, None)
        self._bytes -= self._sizes.pop(version_id, 0)


def load_predictor(store: ArtifactStore, version: ModelVersion) -> Predictor:
    """Read a version's file into a predictor on the CPU. Raises Unavailable."""
    try:
        data = store.read(version.account_id, version.sha256)
        checkpoint = Checkpoint.from_bytes(data, name=f"model version {version.id}")
        # serving needs neither the history nor the training state
        predictor = Predictor(replace(checkpoint, history=[], training=None, training_meta=None))
        predictor.warm_up()
        return predictor
    except (ArtifactMissing, ArtifactDamaged, InvalidCheckpoint, OSError) as error:
        detail = f"The file of model version {version.id} is missing or damaged; {_remedy(version)}."
        raise Unavailable("model_unavailable", detail, retry_after=60) from error


def check_serves(store: ArtifactStore, version: ModelVersion) -> None:
    """Read the version's file anew and predict the golden workout. Raises Unavailable or Conflict."""
    try:
        golden_check(load_predictor(store, version))
    except ValueError as error:
        detail = f"Model version {version.id} does not serve: {error}."
        raise Conflict("failed_golden_check", detail) from error


def _remedy(version: ModelVersion) -> str:
    return "run `stagewise migrate`, which stores it again" if version.account_id is None else "promote another version"
