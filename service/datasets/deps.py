"""What endpoints of datasets use beside `service.web.deps`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from service.datasets.in_flight import InFlight
from service.predict.deps import PredictServices
from service.web.deps import get_services


@dataclass(frozen=True, kw_only=True)
class DatasetServices(PredictServices):
    """The uploads under way, and the models in memory: deleting a dataset deletes its models."""

    uploads: InFlight


DatasetServicesDep = Annotated[DatasetServices, Depends(get_services)]
