"""What endpoints of jobs use beside `service.web.deps`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from service.jobs.live import Live
from service.web.deps import Services, get_services


@dataclass(frozen=True, kw_only=True)
class JobServices(Services):
    """The streams of clients that follow jobs."""

    live: Live


JobServicesDep = Annotated[JobServices, Depends(get_services)]
