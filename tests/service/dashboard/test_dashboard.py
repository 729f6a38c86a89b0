"""The dashboard without a browser: who gets in, what pages hold, and what nobody can do from outside."""

import re

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from hrmodel.workouts.sandbox import confinement
from service.dashboard import rendering
from service.dashboard.router import entrance, router
from service.registry.tables import Stage
from tests import builders
from tests.builders import add_epochs, add_evaluation, add_recorded, crown, on_sqlite

pytestmark = on_sqlite
ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture
def key(database) -> str:
    return builders.add_key(database, "read", "train", "predict")


@pytest.fixture
def browser(connect, key) -> TestClient:
    """A browser that has signed in; it follows no redirects by itself."""
    client = connect()
    client.follow_redirects = False
    answer = client.post("/ui/sign-in", data={"key": key, "to": "/"}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return client


@pytest.fixture
def person(database, store, make_dataset, make_version):
    """Anna, whose stage 2 serves after a stage 1, with a job, epochs and a recorded workout."""
    base, dataset = make_version(), make_dataset(subject="anna")
    first, second = make_version(dataset, Stage.STAGE1, seed=1), make_version(dataset, Stage.STAGE2, seed=2)
    crown(database, dataset.subject_id, base, first, second)
    for version, score in ((base, 8.0), (first, 6.0), (second, 5.0)):
        add_evaluation(database, version, dataset, score)
    with database.reading() as session:
        job = session.get_one(builders.Job, second.job_id)
    add_epochs(database, job, 3)
    return {
        "dataset": dataset.id,
        "job": job.id,
        "version": second.id,
        "first": first.id,
        "workout": add_recorded(database, store, dataset).digest,
    }


def pages_of(person) -> list[str]:
    return [
        "/",
        "/ui/jobs",
        f"/ui/jobs/{person['job']}",
        f"/ui/datasets/{person['dataset']}",
        "/ui/people/anna",
        "/ui/people/anna/plan",
        f"/ui/people/anna/workouts/{person['workout']}",
    ]


def test_every_page_shows_itself_to_whoever_has_signed_in(browser, person):
    for page in pages_of(person):
        answer = browser.get(page)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), page
        assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_the_list_above_holds_every_page(browser):
    routes = {route.path for route in (*router.routes, *entrance.routes) if "GET" in route.methods}
    assert len(routes) == len(pages_of({"job": 1, "dataset": 1, "workout": 1})) + 1  # and the form to sign in


def test_whoever_has_no_key_is_asked_for_one_and_comes_back_to_the_page(connect, person):
    client = connect()
    client.follow_redirects = False
    for page in pages_of(person):
        answer = client.get(page)
        assert answer.status_code == 303, page
        assert answer.headers["location"].startswith("/ui/sign-in?to=%2F")
    form = client.get("/ui/sign-in?to=/ui/people/anna").text
    assert 'name="to" value="/ui/people/anna"' in form


def test_the_key_stays_where_no_script_and_no_other_site_gets_at_it(connect, key):
    client = connect()
    client.follow_redirects = False
    cookie = client.post("/ui/sign-in", data={"key": key}, headers=ORIGIN).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize("wrong", ["", "sw_x", "sw_0000000000000000_" + "x" * 43])
def test_a_wrong_key_is_refused_on_the_page(connect, wrong):
    answer = connect().post("/ui/sign-in", data={"key": wrong}, headers=ORIGIN)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers


def test_signing_in_leads_to_no_other_server(connect, key):
    client = connect()
    client.follow_redirects = False
    for to in ("https://elsewhere.example", "//elsewhere.example/x", "/\\elsewhere.example", "javascript:alert(1)"):
        answer = client.post("/ui/sign-in", data={"key": key, "to": to}, headers=ORIGIN)
        assert answer.headers["location"] == "/", to


def test_signing_out_forgets_the_key(browser):
    answer = browser.post("/ui/sign-out", headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize("origin", [{}, {"Origin": "null"}, {"Origin": "http://elsewhere.example"}])
def test_other_sites_cannot_act_with_somebodys_cookie(browser, person, origin):
    before = browser.get("/jobs").json()["items"]
    for path in ("/ui/jobs", f"/ui/jobs/{person['job']}/cancel", "/ui/people/anna/rollback", "/ui/sign-out"):
        assert browser.post(path, data={"stage": "stage1"}, headers=origin).status_code == 403, path
    body = {"dataset_id": str(person["dataset"])}
    refused = browser.post("/jobs/stage1", json=body, headers=origin)
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
    assert browser.delete("/subjects/anna", headers=origin).status_code == 403
    assert browser.get("/jobs").json()["items"] == before


def test_pages_of_ours_use_the_api_with_the_cookie(browser, person):
    assert browser.get("/subjects").status_code == 200
    assert browser.post("/predict", json={"speed": [2.5] * 5, "subject": "anna"}, headers=ORIGIN).status_code == 200


def test_another_accounts_pages_are_not_there(connect, database, person):
    client = connect()
    stranger = builders.add_key(database, "admin", account="stranger")
    client.post("/ui/sign-in", data={"key": stranger}, headers=ORIGIN)
    for page in pages_of(person)[2:]:
        answer = client.get(page)
        assert answer.status_code == 404, page
        assert 'role="alert"' in answer.text
    assert "anna" not in client.get("/").text


def test_training_starts_with_a_button_and_leads_to_the_jobs_page(browser, person):
    form = {"dataset_id": str(person["dataset"]), "recipe": "original", "stage": "both"}
    answer = browser.post("/ui/jobs", data=form, headers=ORIGIN)
    assert answer.status_code == 303
    first = browser.get(answer.headers["location"].replace("/ui", "")).json()
    assert (first["stage"], first["configuration"]["epochs"], first["state"]) == ("stage1", 50, "queued")
    newest = browser.get("/jobs").json()["items"][0]
    assert (newest["stage"], newest["depends_on"]) == ("stage2", first["id"])


@pytest.mark.parametrize(
    "form", [{}, {"stage": "stage3"}, {"stage": "stage1", "dataset_id": "x"}, {"stage": "stage1", "recipe": "best"}]
)
def test_a_wrong_form_is_a_page_that_says_so(browser, person, form):
    answer = browser.post("/ui/jobs", data={"dataset_id": str(person["dataset"]), **form}, headers=ORIGIN)
    assert answer.status_code == 422
    assert "Choose" in answer.text


def test_a_job_is_cancelled_and_done_again_from_its_page(browser, database, make_dataset, make_version, make_job):
    make_version()
    job = make_job(make_dataset(subject="anna"))
    assert browser.post(f"/ui/jobs/{job.id}/cancel", headers=ORIGIN).status_code == 303
    assert browser.get(f"/jobs/{job.id}").json()["state"] == "cancelled"
    again = browser.post(f"/ui/jobs/{job.id}/retry", headers=ORIGIN).headers["location"]
    assert browser.get(again.replace("/ui", "")).json()["retry_of"] == str(job.id)


def test_rolling_back_lets_the_version_before_serve(browser, person):
    assert "Roll back" in browser.get("/ui/people/anna").text
    answer = browser.post("/ui/people/anna/rollback", headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/people/anna")
    assert browser.get("/subjects/anna/champion").json()["model_version_id"] == str(person["first"])


def test_a_key_that_may_only_read_sees_pages_and_starts_nothing(connect, database, person):
    client = connect()
    client.post("/ui/sign-in", data={"key": builders.add_key(database, "read")}, headers=ORIGIN)
    assert client.get("/ui/people/anna").status_code == 200
    assert client.post("/ui/people/anna/rollback", headers=ORIGIN).status_code == 403


def test_names_are_shown_as_text_wherever_they_stand(browser, database, store, make_dataset, make_version):
    make_version()
    name = "<script>alert('1')</script>".replace("/", "")
    dataset = make_dataset(subject=name, name="</script><script>alert(2)</script>")
    add_recorded(database, store, dataset)
    for page in ("/", f"/ui/people/{name}", f"/ui/people/{name}/plan", f"/ui/datasets/{dataset.id}"):
        answer = browser.get(page)
        assert answer.status_code == 200, page
        assert "<script>alert" not in answer.text, page


def test_training_is_offered_only_where_it_can_be_done(browser, make_version, make_dataset):
    make_version()
    few = make_dataset(subject="few", train_workouts=3, val_workouts=0, test_workouts=0)
    many = make_dataset(subject="many")
    for dataset, offered in ((few, False), (many, True)):
        for page in (f"/ui/datasets/{dataset.id}", f"/ui/people/{'many' if offered else 'few'}"):
            shown = browser.get(page).text
            assert ("Train stage 1" in shown, "takes 8 usable workouts" in shown) == (offered, not offered), page


def test_an_upload_shows_numbers_and_pictures_once_there_are_some(browser, make_dataset):
    importing = browser.get(f"/ui/datasets/{make_dataset(state='importing').id}").text
    assert "to train" not in importing
    assert importing.count('class="state') == 1
    failed = browser.get(f"/ui/datasets/{make_dataset(state='failed', error_code='no_workouts').id}").text
    assert "report.png" not in failed
    assert "Upload more" in failed


def test_with_several_people_nobody_is_proposed_for_an_upload(browser, make_dataset):
    assert 'name="subject" value="me"' in browser.get("/").text
    make_dataset(subject="anna")
    assert 'name="subject" value="anna"' in browser.get("/").text
    make_dataset(subject="ben")
    assert 'name="subject" value=""' in browser.get("/").text


@pytest.mark.parametrize("missing", [[], [confinement.NO_LANDLOCK], [confinement.NO_FILTER]])
def test_the_place_to_upload_says_what_the_machine_does_not_confine(browser, monkeypatch, missing):
    monkeypatch.setattr(confinement, "missing", lambda: missing)
    shown = browser.get("/").text
    assert ("Upload only what you trust" in shown) == bool(missing)
    assert all(sentence.split(" (")[0] in shown for sentence in missing)


def test_a_database_that_is_away_is_a_page_that_says_so(browser, monkeypatch):
    def away(*_):
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr("service.dashboard.pages.home", away)
    answer = browser.get("/")
    assert answer.status_code == 503
    assert "database does not answer" in answer.text


def test_what_pages_load_is_ours_and_there(browser, person):
    loaded = set()
    for page in [*pages_of(person), "/ui/sign-in"]:
        loaded |= set(re.findall(r'(?:src|href)="([^"#]+)"', browser.get(page).text))
    files = {address for address in loaded if address.startswith(rendering.STATIC)}
    assert len(files) >= 5
    assert all(address.startswith("/") for address in loaded), loaded
    for address in files:
        assert browser.get(address).status_code == 200, address


def test_more_people_than_fit_on_a_page_are_on_the_next(browser, make_dataset):
    for number in range(51):
        make_dataset(subject=f"p{number:02d}")
    first = browser.get("/").text
    [more] = re.findall(r'href="(/\?cursor=[^"]+)"', first)
    second = browser.get(more).text
    shown = [set(re.findall(r"/ui/people/(p\d\d)\"", page)) for page in (first, second)]
    assert [len(page) for page in shown] == [50, 1]
    assert not shown[0] & shown[1]


def test_a_fresh_service_tells_what_to_do(connect, key):
    client = connect()
    client.post("/ui/sign-in", data={"key": key}, headers=ORIGIN)
    assert "No people yet" in client.get("/").text
