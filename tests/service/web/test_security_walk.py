"""What holds of every operation, by walking the served OpenAPI document: a new endpoint is covered by being served."""

import re
from dataclasses import replace

import pytest

from service.registry.accounts import SCOPES
from service.registry.tables import Job, Stage
from service.web.rate_limits import RateLimits
from service.web.security_headers import ALWAYS
from tests.builders import add_epochs, add_evaluation, add_population, add_recorded, crown, on_sqlite, row_counts
from tests.openapi_walk import filled, nothing, operations
from tests.readme import ENDPOINTS, table_under

pytestmark = on_sqlite
OPEN = {"/healthz", "/readyz"}  # by design; the documentation is no operation
BYTES = b"not a workout"


def walk(client):
    return operations(client.get("/openapi.json").json())


def send(operation, client, named, **options):
    """The example request, with what it names taken from `named`; what is not there is left out."""
    if operation.body is not None:
        options["json"] = filled(operation.body, named)
    elif operation.binary:
        options["content"] = BYTES
    return client.request(operation.method, operation.target(named), params=operation.query(named), **options)


@pytest.fixture
def named(database, store, make_dataset, make_version):
    """Something of the account `default` for every name that an operation takes; a name that is not here fails."""
    base, dataset = make_version(), make_dataset(subject="anna")
    own_base = make_version(add_population(database), Stage.BASE, seed=5)
    version = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base, version)
    add_evaluation(database, version, dataset, 5.0)
    with database.reading() as session:
        job = session.get_one(Job, version.job_id)
    add_epochs(database, job, 2)
    return {
        "dataset_id": dataset.id,
        "job_id": job.id,
        "version_id": version.id,
        "model_version_id": version.id,
        "stage1_model_version_id": version.id,
        "base_model_version_id": own_base.id,
        "parent_id": job.id,
        "workout_id": add_recorded(database, store, dataset).digest,
        "subject": "anna",
    }


def test_there_is_something_to_walk(client):
    found = list(walk(client))
    assert len(found) > 30
    assert sum(operation.body is not None for operation in found) >= 7


def test_nothing_answers_without_a_valid_key_but_what_is_open_by_design(connect, database):
    anybody = connect()
    state = anybody.app.state
    state.services = replace(state.services, limits=RateLimits(1_000, failures=1_000))  # this is not about guessing
    before, tried = row_counts(database), 0
    for operation in walk(anybody):
        for header in (None, f"Bearer sw_{'0' * 16}_{'x' * 43}"):
            headers = {"Authorization": header} if header else {}
            response = send(operation, anybody, nothing(), headers=headers)
            if operation.path in OPEN:
                assert response.status_code in (200, 503), operation
            else:
                assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer"), operation
                tried += 1
    assert tried > 60
    assert row_counts(database) == before


def test_a_key_opens_what_the_readme_says_and_nothing_else(connect):
    promised = {row[0]: row[1] for row in table_under("Endpoints", ENDPOINTS)}
    clients = {scope: connect(scope) for scope in SCOPES}
    for operation in walk(clients["admin"]):
        if operation.path in OPEN:
            continue
        opened = {scope for scope, client in clients.items() if send(operation, client, nothing()).status_code != 403}
        assert opened == {promised[str(operation)].split(",")[0], "admin"}, operation


def same_but_for(value, response):
    """What the answer says, without the id that was asked for and that of the request."""
    text = re.sub(r'"request_id": "\w+"', "", response.text)
    return response.status_code, response.headers["Content-Type"], text.replace(str(value), "ID")


def test_what_is_somebody_elses_looks_like_what_is_not_there(client, stranger, database, make_dataset, named):
    mine = {"dataset_id": make_dataset(account="stranger").id}  # so that no other name is the first that is not found
    stranger.get("/jobs")
    before, tried = row_counts(database), 0
    for operation in walk(client):
        if operation.binary:  # an upload makes its subject
            continue
        for place, name in operation.names():
            other = nothing() | mine | {name: nothing()[name]}
            in_path = {name: other[name] for kind, name in operation.names() if kind == "path"}
            needed = in_path | ({"dataset_id": mine["dataset_id"]} if place == "body" else {})
            asked = [send(operation, stranger, {**needed, name: value}) for value in (named[name], other[name])]
            shown = [
                same_but_for(value, answer) for value, answer in zip((named[name], other[name]), asked, strict=True)
            ]
            assert shown[0] == shown[1], (str(operation), place, name)
            if place != "query":  # a filter finds nothing, and says so with an empty list
                assert asked[0].status_code == 404, (str(operation), name, asked[0].text)
            tried += 1
    assert tried > 35
    assert row_counts(database) == before


def test_the_owner_sees_all_of_it(client, named):
    for operation in walk(client):
        if operation.method == "GET" and operation.names():
            response = send(operation, client, named)
            assert response.status_code == 200, (str(operation), response.text)


def test_every_answer_tells_browsers_to_run_frame_guess_and_keep_nothing(client, connect, named):
    pages = ["/docs", "/", "/nowhere"]
    answers = [(str(operation), send(operation, client, named)) for operation in walk(client)]
    answers += [(path, connect().get(path, follow_redirects=False)) for path in pages]
    answers += [("401", connect().get("/jobs")), ("405", client.patch("/jobs")), ("422", client.get("/jobs?limit=0"))]
    for name, response in answers:
        assert [response.headers.get(key.decode()) for key, _ in ALWAYS] == [value.decode() for _, value in ALWAYS], (
            name
        )
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'"), name
        assert "frame-ancestors 'none'" in policy, name
        assert "unsafe-eval" not in policy, name
        assert ("script-src" in policy) == (name == "/docs"), name
        assert response.headers["Cache-Control"] == "no-store", name


def test_files_are_saved_and_not_shown(client, named):
    for form in ("safetensors", "pt"):
        response = client.get(f"/models/{named['version_id']}/download?format={form}")
        assert response.headers["Content-Disposition"].startswith("attachment;")


def test_the_documentation_page_may_run_the_scripts_that_are_in_it_and_no_others(connect):
    import base64
    import hashlib

    response = connect().get("/docs")
    inline = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in inline}
    scripts = re.search(r"script-src ([^;]+)", response.headers["Content-Security-Policy"])[1].split()
    assert len(inline) == 1
    assert set(scripts) == {"'self'", *hashes}


def test_a_fault_of_ours_has_the_headers_too(client, monkeypatch):
    from service.registry import job_history

    monkeypatch.setattr(job_history, "page", lambda *_: 1 / 0)
    response = client.get("/jobs")
    assert (response.status_code, response.headers["X-Content-Type-Options"]) == (500, "nosniff")
