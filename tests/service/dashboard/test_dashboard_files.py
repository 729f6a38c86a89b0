"""Templates and scripts of the dashboard: nothing in them needs another server or a weaker policy."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.dashboard import rendering
from tests.builders import on_sqlite

ADDRESS = re.compile(r'(?:href|src)="(/(?:ui/static|static-offline-docs)/[^"]+)"')


def test_scripts_of_ours_name_no_other_server():
    for file in Path(rendering.FOLDER).glob("*.js"):
        if ".min." not in file.name:
            assert "://" not in file.read_text(), file


def test_no_page_has_styles_or_handlers_that_its_policy_would_refuse():
    for file in Path(rendering.FOLDER).parent.glob("templates/*.html"):
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style", file.read_text()), file


@on_sqlite
@pytest.mark.parametrize(("page", "count"), [("/ui/sign-in", 6), ("/docs", 3)])
def test_what_a_page_loads_is_there_and_may_be_kept_for_ever(connect, page, count):
    browser: TestClient = connect()
    addresses = set(ADDRESS.findall(browser.get(page).text))
    assert len(addresses) == count
    for address in addresses:
        file = browser.get(address)
        assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable"), (
            address
        )
        folder, _, name = address.rpartition("/")
        unnamed = browser.get(f"{folder.rpartition('/')[0]}/{name}")
        assert (unnamed.content, unnamed.headers["cache-control"]) == (file.content, "no-cache"), address


@on_sqlite
def test_scripts_load_others_of_the_same_version(connect):
    browser: TestClient = connect()
    page = browser.get("/ui/sign-in").text
    script = next(address for address in ADDRESS.findall(page) if address.endswith("/app.js"))
    for name in re.findall(r'from "\./([a-z]+\.js)"', browser.get(script).text):
        assert browser.get(script.replace("app.js", name)).headers["cache-control"].endswith("immutable"), name


@on_sqlite
def test_pages_and_lists_stay_out_of_caches_and_keep_their_policy_when_compressed(connect):
    for path in ("/ui/sign-in", "/openapi.json"):
        headers = connect().get(path, headers={"Accept-Encoding": "gzip"}).headers
        assert (headers["cache-control"], headers["vary"]) == ("no-store", "Accept-Encoding"), path
        assert "default-src 'none'" in headers["content-security-policy"], path
    assert headers["content-encoding"] == "gzip"
