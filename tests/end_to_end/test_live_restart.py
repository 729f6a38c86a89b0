"""Live streams and the end of the process that serves them."""

import os
import signal
import time
from pathlib import Path

import httpx2
import pytest

from service.registry.session import Database
from service.settings import Settings
from tests import builders
from tests.end_to_end.api_process import ApiProcess, running_api

pytestmark = pytest.mark.slow
PROMPT_SECONDS = 6.0  # the server would wait 10 s for an answer that goes on


def add_job(folder: Path) -> str:
    database = Database(Settings(state_dir=folder).database_url)
    job = builders.add_job(database, builders.add_ready(database, subject="watched"))
    database.dispose()
    return str(job.id)


def first_numbered(api: ApiProcess, job_id: str, last: str | None = None) -> tuple[str, httpx2.Response]:
    """The id of the first event behind `last`, and the stream, still open."""
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {api.key}"}
    headers |= {} if last is None else {"Last-Event-ID": last}
    client = httpx2.Client(timeout=30.0)
    response = client.send(client.build_request("GET", f"{api.url}/jobs/{job_id}/events", headers=headers), stream=True)
    assert response.status_code == 200
    number = next(line.removeprefix("id: ") for line in response.iter_lines() if line.startswith("id: "))
    return number, response


def gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stream_ends_with_the_process_at_once_and_goes_on_at_the_next_one(
    tmp_path: Path, how: signal.Signals
) -> None:
    with running_api(tmp_path) as api:
        job_id = add_job(tmp_path)
        queued, stream = first_numbered(api, job_id)
        told = time.monotonic()
        os.kill(api.pid, how)
        while not gone(api.pid):
            assert time.monotonic() - told < PROMPT_SECONDS
            time.sleep(0.05)
        stream.close()
    with running_api(tmp_path) as again:
        headers = {"Authorization": f"Bearer {again.key}"}
        assert httpx2.post(f"{again.url}/jobs/{job_id}/cancel", headers=headers).is_success
        cancelled, rest = first_numbered(again, job_id, queued)
        assert int(cancelled) > int(queued)
        rest.close()
