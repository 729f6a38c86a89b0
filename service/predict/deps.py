"""What endpoints that predict use beside `service.web.deps`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from service.operations.metrics import Metrics
from service.predict.batcher import Batcher
from service.predict.cache import ModelCache
from service.predict.lookup import Lookup
from service.web.deps import Services, get_services


@dataclass(frozen=True, kw_only=True)
class PredictServices(Services):
    """The models in memory, and the batcher that runs them."""

    models: ModelCache
    lookup: Lookup
    batcher: Batcher
    metrics: Metrics


PredictServicesDep = Annotated[PredictServices, Depends(get_services)]
