"""The dashboard in a real browser: from an empty service to a model of one's own, and back a step."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from hrmodel.workouts.sandbox.reading import read_workouts
from service.client import Client
from service.local.background import Running, running
from tests.browser.chromium import SIZES, Seen, chromium, page_of, sign_in
from tests.browser.recordings import gpx, write_gpx_zip
from tests.shared_data import personal_parquet

pytestmark = pytest.mark.browser
RUNNER = "p006"  # stage 1 is better than the base for them
STAGE_MILLISECONDS = 400_000


@dataclass
class Walked:
    """A service after somebody has gone through everything, and the addresses of what they saw."""

    service: Running
    browser: Browser
    seen: Seen
    pages: dict[str, str]
    champions: list[str]


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real person's runs as a zip of GPX files."""
    own = [workout for workout in read_workouts(personal_parquet()) if workout.person == RUNNER]
    assert len(own) > 50
    folder = tmp_path_factory.mktemp("upload")
    (folder / "route.gpx").write_text(gpx(own[-1]))
    return write_gpx_zip(own, folder / "runs.zip")


@pytest.fixture(scope="module")
def walked(upload: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    """Sign in, upload, train, look, plan, roll back."""
    with running(tmp_path_factory.mktemp("state")) as service, chromium() as browser:
        with page_of(browser, service.url) as (page, seen):
            walk = Walked(service, browser, seen, {"sign-in": "/ui/sign-in"}, [])
            sign_in(page, service.key)
            walk.pages["empty"] = "/"
            expect(page.get_by_text("No people yet")).to_be_visible()
            send(page, upload, walk)
            train(page, walk)
            look(page, walk)
            plan(page, upload.with_name("route.gpx"), walk)
            promote(walk)
            roll_back(page, walk)
        yield walk


def send(page: Page, upload: Path, walk: Walked) -> None:
    """Upload and see the report."""
    page.get_by_label("Whose workouts").fill(RUNNER)
    page.get_by_label("Drop a file here").set_input_files(upload)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="Workouts", exact=True)).to_be_visible(timeout=120_000)
    expect(page.get_by_role("img", name="workouts over time")).to_be_visible()
    walk.pages["dataset"] = path_of(page)
    walk.champions.append(serving(page))


def train(page: Page, walk: Walked) -> None:
    """Both stages with one button, watched live until each has ended."""
    page.goto(walk.pages["dataset"])
    page.get_by_role("button", name="Train stage 1, then stage 2").click()
    for stage in ("Stage 1", "Stage 2"):
        expect(page.get_by_role("heading", name=f"{stage} of {RUNNER}")).to_be_visible()
        job = path_of(page)
        expect(page.locator("#log")).to_contain_text("Epoch 1/", timeout=STAGE_MILLISECONDS)
        expect(page.locator("[data-chart=losses] .uplot")).to_be_visible()
        expect(page.locator("#job-state")).to_have_text("succeeded", timeout=STAGE_MILLISECONDS)
        expect(page.get_by_role("img", name="Measured and predicted")).to_be_visible()
        walk.pages[stage] = job
        walk.champions.append(serving(page))
        if stage == "Stage 1":
            page.goto("/")
            page.get_by_role("link", name="stage 2").click()


def serving(page: Page) -> str:
    """The stage that serves, as the person's page says."""
    before = page.url
    page.goto(f"/ui/people/{RUNNER}")
    row = page.locator("tr.serving th")
    said = row.inner_text().split("\n")[0].removesuffix("serves").strip() if row.count() else "base"
    page.goto(before)
    return said


def look(page: Page, walk: Walked) -> None:
    """The person's page and a workout's."""
    page.goto(f"/ui/people/{RUNNER}")
    walk.pages["person"] = path_of(page)
    expect(page.get_by_text("How good each is")).to_be_visible()
    page.locator("section[aria-labelledby=workouts-title] a").first.click()
    expect(page.locator("[data-chart=heart] .uplot")).to_be_visible()
    walk.pages["workout"] = path_of(page)


def plan(page: Page, route: Path, walk: Walked) -> None:
    """At a typed pace, and a route under a heart rate."""
    page.goto(f"/ui/people/{RUNNER}/plan")
    walk.pages["plan"] = path_of(page)
    page.get_by_label("Distance (km)").fill("8")
    page.get_by_label("Pace (min/km)").fill("5:45")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#planned .facts")).to_contain_text("46:00")
    page.get_by_label("Route (GPX)").set_input_files(route)
    page.get_by_label("as fast as a heart rate allows").check()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#planned .facts")).not_to_contain_text("46:00", timeout=30_000)
    expect(page.locator("[data-chart=planned-heart] .uplot")).to_be_visible()


def promote(walk: Walked) -> None:
    """Let stage 2 serve, whatever the held-out workouts have decided."""
    with Client(walk.service.url, walk.service.key) as api:
        (version,) = api.list_models(subject=RUNNER, stage="stage2")
        if not version["champion"]:
            api.promote_model(version["id"], force=True)


def roll_back(page: Page, walk: Walked) -> None:
    """One step."""
    page.goto(f"/ui/people/{RUNNER}")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("rollback").first).to_be_visible()
    walk.champions.append(serving(page))


def path_of(page: Page) -> str:
    """The address without the server."""
    return "/" + page.url.split("/", 3)[3]


def test_the_page_shows_which_model_serves_and_a_roll_back_returns_to_the_one_before(walked: Walked):
    before, after_stage1, after_stage2, after_roll_back = walked.champions
    assert before == "base"
    assert after_stage1 in ("base", "stage 1")
    assert after_stage2 in (after_stage1, "stage 2")
    assert after_roll_back == (after_stage1 if after_stage2 == "stage 2" else after_stage2)


def test_nothing_went_wrong_in_the_console_and_no_request_left_the_machine(walked: Walked):
    assert walked.seen.errors == []
    assert walked.seen.hosts == {walked.service.url.removeprefix("http://")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_screen(walked: Walked, size: str, scheme):
    axe = Axe()
    with page_of(walked.browser, walked.service.url, size, scheme) as (page, seen):
        page.goto("/ui/sign-in")
        faults = {"sign-in": serious(axe, page)}
        sign_in(page, walked.service.key)
        for name, path in walked.pages.items():
            page.goto(path)
            page.wait_for_load_state("networkidle") if name != "empty" else page.wait_for_timeout(300)
            faults[name] = serious(axe, page)
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, name
    assert {name: found for name, found in faults.items() if found} == {}
    assert seen.errors == []


def serious(axe: Axe, page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page."""
    found = axe.run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in found if each["impact"] in ("serious", "critical")
    ]


def test_the_keyboard_alone_signs_in_and_reaches_the_upload(walked: Walked):
    with page_of(walked.browser, walked.service.url) as (page, _):
        page.goto("/")
        page.keyboard.type(walked.service.key)  # the field has the focus
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="People").wait_for()
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to content")).to_be_focused()
        reached = set()
        for _ in range(25):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        assert {"subject", "file", "Upload", "Plan a run"} <= reached
