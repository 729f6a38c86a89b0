"""What browsers load comes from memory, as it would from the disk."""

import pytest
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from service.web.held_files import HeldFiles


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "page.css").write_text("a { color: red }")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_it_answers_as_from_the_disk(folder):
    held, disk = TestClient(HeldFiles(folder)), TestClient(StaticFiles(directory=folder))
    for name in ("page.css", "picture.png"):
        one, other = held.get(f"/{name}"), disk.get(f"/{name}")
        assert (one.status_code, one.content) == (200, other.content)
        for header in ("content-type", "content-length", "last-modified"):
            assert one.headers[header] == other.headers[header]


def test_a_browser_that_has_it_gets_nothing_again(folder):
    client = TestClient(HeldFiles(folder))
    etag = client.get("/page.css").headers["etag"]
    again = client.get("/page.css", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/other.css", "/%2e%2e/page.css", "/"])
def test_nothing_else_is_there(folder, path):
    assert TestClient(HeldFiles(folder), raise_server_exceptions=False).get(path).status_code in (404, 500)


def test_a_file_is_answered_after_it_is_gone_from_the_disk(folder):
    client = TestClient(HeldFiles(folder))
    (folder / "page.css").unlink()
    assert client.get("/page.css").text == "a { color: red }"
