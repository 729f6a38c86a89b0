"""The helpers of README and docs for curl: they end, whatever the service answers, and say why."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.readme import DOCS, PAGES, README, shell_blocks

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed on this machine")
PRINTED = "http://127.0.0.1:8000"
PROBLEM = {"code": "invalid_request", "detail": "These values are not valid.", "request_id": "0f8f"}
WITH_HELPERS = [README, DOCS / "how-to" / "endomondo.md"]


def helpers(page: Path) -> str:
    """The page's shell functions."""
    [block] = [block for block in shell_blocks(page) if "finished()" in block]
    return re.search(r"call\(\) .*?\n}\n", block, re.DOTALL)[0]


@contextmanager
def answering(*answers: tuple[int, object]) -> Iterator[tuple[str, list[str]]]:
    """A service that gives these answers in turn, the last one again and again: its URL, and what was asked."""
    left, asked = list(answers), []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers['Content-Type']}")
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body, separators=(",", ":")).encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def run(page: Path, url: str, folder: Path, commands: str) -> "subprocess.CompletedProcess[str]":
    (folder / "var").mkdir()
    (folder / "var" / "api-key").write_text("sw_key")
    script = helpers(page).replace(PRINTED, url) + commands
    # a reader types it: what fails does not end the shell
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("page", WITH_HELPERS, ids=lambda page: page.stem)
def test_a_job_is_waited_for(page, tmp_path):
    with answering((202, {"id": "7"}), (200, {"state": "queued"}), (200, {"state": "succeeded"})) as (url, asked):
        done = run(
            page, url, tmp_path, """JOB=$(send /jobs/base '{"a": 1}' | id_of) && finished "/jobs/$JOB"; echo $?"""
        )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert asked == ["POST /jobs/base application/json", *["GET /jobs/7 None"] * 2]


@pytest.mark.parametrize("page", WITH_HELPERS, ids=lambda page: page.stem)
@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_ended_badly_is_shown_and_not_waited_for(page, tmp_path, state):
    with answering((200, {"state": state, "error": {"message": "The disk is full."}})) as (url, _):
        done = run(page, url, tmp_path, 'finished "/jobs/7"')
    assert done.returncode == 1
    assert "The disk is full." in done.stderr


@pytest.mark.parametrize("page", WITH_HELPERS, ids=lambda page: page.stem)
def test_a_first_step_that_fails_says_why_and_nothing_is_waited_for(page, tmp_path):
    step = """JOB=$(send /jobs/base '{}' | id_of) && finished "/jobs/$JOB"; echo $?"""
    with answering((422, PROBLEM)) as (url, asked):
        done = run(page, url, tmp_path, step)
    assert done.stdout == "1\n"
    assert PROBLEM["detail"] in done.stderr
    assert len(asked) == 1


@pytest.mark.parametrize("page", WITH_HELPERS, ids=lambda page: page.stem)
def test_a_service_that_is_away_ends_the_waiting(page, tmp_path):
    done = run(page, "http://127.0.0.1:1", tmp_path, "finished /jobs/7")
    assert done.returncode == 1
    assert "curl" in done.stderr


def test_no_page_asks_curl_for_what_older_ones_lack():
    for page in PAGES:
        for block in shell_blocks(page):
            for line in block.splitlines():
                if re.match(r".*\b(curl|call|send)\b", line):
                    assert "--json" not in line, (page, line)
