"""The database's clock, stopped."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Float, literal

from service.registry import session


@contextmanager
def bound_clock(seconds: float) -> Iterator[None]:
    """Let `db_now()` stand at `seconds` (UTC epoch), in every thread of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "DatabaseClock", lambda: literal(seconds, Float(53)))
        yield
