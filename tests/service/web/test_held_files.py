"""What browsers load comes from memory, as it would from the disk, compressed, and once."""

import gzip

import pytest
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from service.web.held_files import HeldFiles

CSS = "a { color: red }\n" * 100
PLAIN, GZIP = {"Accept-Encoding": "identity"}, {"Accept-Encoding": "br, gzip"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "page.css").write_text(CSS)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_it_answers_as_from_the_disk(folder):
    held, disk = TestClient(HeldFiles(folder)), TestClient(StaticFiles(directory=folder))
    for name in ("page.css", "picture.png"):
        one, other = held.get(f"/{name}", headers=PLAIN), disk.get(f"/{name}")
        assert (one.status_code, one.content) == (200, other.content)
        for header in ("content-type", "content-length", "last-modified"):
            assert one.headers[header] == other.headers[header]


@pytest.mark.parametrize("encoding", [PLAIN, GZIP])
def test_a_browser_that_has_it_gets_nothing_again(folder, encoding):
    client = TestClient(HeldFiles(folder))
    etag = client.get("/page.css", headers=encoding).headers["etag"]
    again = client.get("/page.css", headers={"If-None-Match": etag, **encoding})
    assert (again.status_code, again.content) == (304, b"")


def test_it_is_compressed_for_those_who_read_gzip_and_caches_keep_both_apart(folder):
    client = TestClient(HeldFiles(folder))
    with client.stream("GET", "/page.css", headers=GZIP) as short:
        sent = b"".join(short.iter_raw())
    long = client.get("/page.css", headers=PLAIN)
    assert gzip.decompress(sent).decode() == long.text == CSS
    assert len(sent) == int(short.headers["content-length"]) < len(CSS) / 10
    assert short.headers["etag"] != long.headers["etag"]
    assert short.headers["vary"] == long.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in client.get("/picture.png", headers=GZIP).headers, "gzip would make it longer"


def test_under_its_version_a_file_is_kept_for_ever_and_else_asked_for_again(folder):
    held = HeldFiles(folder)
    client = TestClient(held)
    named = client.get(f"/{held.version}/page.css")
    assert (named.text, named.headers["cache-control"]) == (CSS, "public, max-age=31536000, immutable")
    assert client.get("/page.css").headers["cache-control"] == "no-cache"


def test_another_content_has_another_version_and_the_old_one_is_gone(folder):
    before = HeldFiles(folder).version
    assert HeldFiles(folder).version == before
    (folder / "page.css").write_text("a { color: blue }")
    held = HeldFiles(folder)
    assert held.version != before
    assert TestClient(held, raise_server_exceptions=False).get(f"/{before}/page.css").status_code in (404, 500)


@pytest.mark.parametrize("path", ["/other.css", "/%2e%2e/page.css", "/"])
def test_nothing_else_is_there(folder, path):
    assert TestClient(HeldFiles(folder), raise_server_exceptions=False).get(path).status_code in (404, 500)


def test_a_file_is_answered_after_it_is_gone_from_the_disk(folder):
    client = TestClient(HeldFiles(folder))
    (folder / "page.css").unlink()
    assert client.get("/page.css").text == CSS
