"""The API of a process of its own."""

import gc

from service import app
from service.registry.migrations import upgrade
from service.settings import get_settings
from service.web.processes import Processes


def test_collecting_garbage_leaves_out_what_the_process_started_with(tmp_path, monkeypatch):
    monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path))
    get_settings.cache_clear()
    try:
        upgrade(get_settings().database_url)
        made = app.process_app(Processes())
        assert gc.get_freeze_count() > 100_000
        assert not any(kept is made for kept in gc.get_objects())
    finally:
        gc.unfreeze()
        get_settings.cache_clear()
