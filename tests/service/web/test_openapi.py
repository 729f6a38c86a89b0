"""The OpenAPI document says of every operation what it does, what it looks like, and how it fails."""

import re

import pytest

from tests.builders import on_sqlite

pytestmark = on_sqlite
OPEN = {"/healthz", "/readyz", "/metrics"}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", path, operation


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def has_example(document, content):
    for media in content.values():
        schemas = [media.get("schema", {}), *media.get("schema", {}).get("anyOf", [])]
        if "example" in media or any(resolved(document, schema).get("examples") for schema in schemas):
            return True
    return False


def test_it_is_3_1_and_has_the_operations_of_the_design(document):
    assert document["openapi"].startswith("3.1")
    names = {operation["operationId"] for _, _, operation in operations(document)}
    assert {
        "upload_dataset",
        "submit_stage1_job",
        "predict",
        "plan_pace",
        "promote_model",
        "roll_champion_back",
    } <= names
    assert len(names) == len(list(operations(document)))


def test_every_operation_says_what_it_does_with_an_example(document):
    for name, _, operation in operations(document):
        assert len(operation.get("description", "")) > 20, name
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer.get("content", {}) for status, answer in operation["responses"].items() if status < "3"]
        empty = set(operation["responses"]) & {"204"}
        assert empty or any(has_example(document, content) for content in contents), name


def test_every_parameter_is_described_or_plain(document):
    for name, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


def test_every_operation_lists_its_errors_as_problems(document):
    for name, path, operation in operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
        expected = {"422", "500", "503"} | (set() if path in OPEN else {"401", "403", "429"})
        expected |= {"404"} if "{" in path else set()
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            expected |= {"400", "413", "415"}
        assert expected <= set(errors), name
        for status, answer in errors.items():
            assert answer["content"] == PROBLEM, (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_operation_but_the_open_ones_wants_a_key(document):
    for name, path, operation in operations(document):
        assert bool(operation.get("security")) == (path not in OPEN), name
    scheme = document["components"]["securitySchemes"]["HTTPBearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_rows_of_numbers_are_described_as_such(document):
    schema = document["components"]["schemas"]["PredictRequest"]
    assert schema["properties"]["speed"]["items"] == {"type": ["number", "null"]}
    assert schema["required"] == ["speed"]
    assert schema["additionalProperties"] is False
    route = document["components"]["schemas"]["PlanRequest"]
    assert route["properties"]["distance"]["items"] == {"type": "number"}
    assert (route["required"], route["additionalProperties"]) == (["distance", "heart_rate_cap"], False)


def test_every_reference_leads_somewhere(document):
    import json
    import re

    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]


def test_the_documentation_pages_open_without_a_key(connect):
    anonymous = connect()
    assert anonymous.get("/docs").status_code == 200


def test_the_documentation_page_fetches_nothing_from_elsewhere(connect):
    anybody = connect()
    page = anybody.get("/docs").text
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) >= 2
    for file in files:
        assert file.startswith("/"), file
        assert anybody.get(file).status_code == 200, file
    assert not re.search(r"https?://", page.replace("http://testserver", ""))
