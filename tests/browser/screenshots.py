"""The documentation's pictures: a simulated runner's service, every page at desktop and phone width.

python -m tests.browser.screenshots      (writes docs/pictures/*.png; needs Chromium)
"""

import tempfile
from pathlib import Path

from playwright.sync_api import Page

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.client.client import Client
from service.local.background import running
from tests.browser.chromium import SIZES, chromium, page_of, sign_in

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
TALLEST = 1600  # px: more than the first screens says nothing new


def main() -> None:
    """Take them all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="stagewise-screenshots-") as folder,
        running(Path(folder) / "state") as service,
        Client(service.url, service.key) as client,
        chromium() as browser,
    ):
        pages = prepare(client, Path(folder))
        for size in SIZES:
            with page_of(browser, service.url, size) as (page, _):
                page.goto("/ui/sign-in")
                take(page, "sign-in", size)
                sign_in(page, service.key)
                for name, path in pages.items():
                    page.goto(path)
                    page.wait_for_timeout(800)
                    if name == "plan":
                        page.get_by_role("button", name="Predict").click()
                        page.wait_for_timeout(2000)
                    take(page, name, size)


def prepare(client: Client, folder: Path) -> dict[str, str]:
    """A runner with both stages; the pages to show, by name."""
    upload = write_parquet(simulate_runner(workouts=40, seed=7), folder / "runner.parquet")
    accepted = client.upload_dataset(upload, subject="me", name="spring")
    client.wait(accepted["job_id"])
    jobs = [client.post(f"/jobs/{stage}", {"dataset_id": accepted["id"]}) for stage in ("stage1", "stage2")]
    for job in jobs:
        client.wait(job["id"])
    newest = client.get(f"/datasets/{accepted['id']}/report")["workouts"][-1]["digest"]
    return {
        "home": "/",
        "dataset": f"/ui/datasets/{accepted['id']}",
        "job": f"/ui/jobs/{jobs[-1]['id']}",
        "person": "/ui/people/me",
        "workout": f"/ui/people/me/workouts/{newest}",
        "plan": "/ui/people/me/plan",
    }


def take(page: Page, name: str, size: str) -> None:
    """One picture, from the top."""
    page.evaluate("scrollTo(0, 0)")
    width, height = SIZES[size]
    whole = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": width, "height": max(height, whole)})
    page.wait_for_timeout(200)
    page.screenshot(path=PICTURES / f"{name}-{size}.png")
    page.set_viewport_size({"width": width, "height": height})


if __name__ == "__main__":
    main()
