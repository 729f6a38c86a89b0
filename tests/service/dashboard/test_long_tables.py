"""The report of a large upload, piece by piece: problems first, every row once, with and without scripts."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from starlette.testclient import TestClient

from service.dashboard.pages import FIRST_ROWS, ROWS
from service.registry.tables import DatasetFile, DatasetWorkout
from tests import builders
from tests.builders import on_sqlite

pytestmark = on_sqlite
VERDICTS = ("dropped", "repaired", "kept")
COUNTS = {"dropped": 120, "repaired": 200, "kept": 680}
FILES, PROBLEMS = 60, 7
MESSAGE = "took as missing: heart rate that leapt up and came back (watch at the wrist, cold fingers)"
WIRE_BYTES = 50_000


@pytest.fixture
def address(database, make_dataset) -> str:
    """The page of an upload of 1,000 workouts, one a day, their verdicts mixed."""
    dataset = make_dataset(subject="anna", file_count=FILES, problem_count=PROBLEMS)
    verdicts = sorted((name for name, count in COUNTS.items() for _ in range(count)), key=lambda name: name[1])
    first = datetime(2023, 1, 1, tzinfo=UTC)
    with database.unit_of_work() as session:
        session.add_all(
            DatasetWorkout(
                dataset_id=dataset.id,
                position=position,
                source=f"{position}.gpx",
                started_at=first + timedelta(days=position),
                duration_s=1800.0,
                verdict=verdict,
                reasons=[] if verdict == "kept" else [{"code": "heart_rate_spike", "samples": 3, "message": MESSAGE}],
            )
            for position, verdict in enumerate(verdicts)
        )
        session.add_all(
            DatasetFile(
                dataset_id=dataset.id,
                name=f"{number}.gpx",
                format="gpx",
                workouts=1,
                problem=None if number < FILES - PROBLEMS else "It ends in the middle.",
            )
            for number in range(FILES)
        )
    return f"/ui/datasets/{dataset.id}"


@pytest.fixture
def browser(connect, database) -> TestClient:
    client = connect()
    key = builders.add_key(database, "read")
    client.post("/ui/sign-in", data={"key": key}, headers={"Origin": "http://testserver"})
    return client


def rows_of(page: str, table: str) -> list[list[str]]:
    """The cells of a table's rows, without the one that shows more."""
    part = page[page.index(f'id="{table}"') :]
    body = part[part.index("<tbody>") : part.index("</tbody>")]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)] for row in rows]


def pieces(browser: TestClient, address: str | None, table: str) -> list[list[list[str]]]:
    """The rows of one page after the other, as their links lead on."""
    found = []
    while address:
        page = browser.get(address).text
        found.append(rows_of(page, table))
        link = re.search(rf'id="more-{table}" href="([^"#]+)', page)
        address = unescape(link[1]) if link else None
    return found


def test_the_first_page_shows_few_rows_and_takes_little(browser, address):
    with browser.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as response:
        sent = sum(map(len, response.iter_raw()))
    page = browser.get(address).text
    assert len(rows_of(page, "workouts")) == len(rows_of(page, "files")) == FIRST_ROWS
    assert sent < WIRE_BYTES
    assert len(browser.get(f"{address}?start={FIRST_ROWS}").text) < WIRE_BYTES, "also to those who cannot read gzip"


def test_links_lead_through_all_workouts_each_once_problems_first_and_the_newest_first_in_each(browser, address):
    rows = [row for piece in pieces(browser, address, "workouts") for row in piece]
    assert len({row[0] for row in rows}) == len(rows) == sum(COUNTS.values())
    assert [row[3] for row in rows] == [name for name in VERDICTS for _ in range(COUNTS[name])]
    for name in VERDICTS:
        days = [row[0] for row in rows if row[3] == name]
        assert days == sorted(days, reverse=True), name


@pytest.mark.parametrize("name", VERDICTS)
def test_a_filter_shows_one_verdict_and_says_of_each_how_many_there_are(browser, address, name):
    page = browser.get(address).text
    links = dict(re.findall(r'id="show-(\w+)"[^>]*>\w+ <small>([\d,]+)</small>', page))
    assert links == {"all": "1,000", **{each: f"{count:,}" for each, count in COUNTS.items()}}
    found = pieces(browser, f"{address}?verdict={name}", "workouts")
    assert [row[3] for piece in found for row in piece] == [name] * COUNTS[name]
    assert all(len(piece) <= ROWS for piece in found)


def test_files_with_a_problem_come_first_and_links_lead_through_all(browser, address):
    rows = [row for piece in pieces(browser, address, "files") for row in piece]
    assert len({row[0] for row in rows}) == FILES
    assert all(row[3] for row in rows[:PROBLEMS])
    assert not any(row[3] for row in rows[PROBLEMS:])
    assert f"{FILES} files, {PROBLEMS} with a problem" in browser.get(address).text


def test_past_the_end_there_is_nothing_and_a_wrong_piece_is_refused(browser, address):
    assert "No more workouts are listed." in browser.get(f"{address}?start=5000").text
    for query in ("verdict=best", "start=-1", "start=x", "file_start=99999999999"):
        assert browser.get(f"{address}?{query}").status_code == 422, query


def test_a_stranger_sees_no_piece_of_it(connect, database, address):
    client = connect()
    key = builders.add_key(database, "read", account="stranger")
    client.post("/ui/sign-in", data={"key": key}, headers={"Origin": "http://testserver"})
    assert client.get(f"{address}?start=25").status_code == 404
