"""The examples of the OpenAPI document work when they are pasted, and its answers look as it says they do."""

import ast
import re
from functools import cache

import pytest
from jsonschema_rs import validator_for

from hrmodel.evaluation.baselines import BASELINES
from hrmodel.evaluation.protocols import PROTOCOLS
from service.registry.tables import Stage
from tests.builders import add_evaluation, add_population, crown, on_sqlite
from tests.openapi_walk import filled, operations
from tests.readme import ROOT
from worker.failures import CODES

pytestmark = on_sqlite
NAME = re.compile(r"[a-z]+[0-9]?(_[a-z0-9]+)*|P[0-9](-[0-9]+)?")
PEOPLES = {"me", "spring"}  # names that people gave
UPLOAD = b"not a workout"  # taken at once; the import says what it is


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


@pytest.fixture
def named(database, make_dataset, make_version):
    """What the ids of the examples stand for: a person with a champion that one better version waits behind."""
    base, dataset = make_version(), make_dataset(subject="me")
    population = add_population(database)
    worse, better = make_version(dataset, seed=1), make_version(dataset, Stage.STAGE2, seed=2)
    crown(database, dataset.subject_id, base, worse)
    for version, score in ((base, 6.5), (worse, 6.0), (better, 5.0)):
        add_evaluation(database, version, dataset, score)
    return {
        "dataset_id": dataset.id,
        "subject": "me",
        "version_id": better.id,
        "job_id": better.job_id,
        "stage1_model_version_id": worse.id,
        "base_model_version_id": base.id,
        "/jobs/base": {"dataset_id": population.id},
    }


def examples(document):
    """Every request example: the operation and its body."""
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            for schema in schemas_of(
                document, said.get("requestBody", {}).get("content", {}).get("application/json", {})
            ):
                for body in schema.get("examples", []):
                    yield method, path, body


def schemas_of(document, media):
    schema = media.get("schema", {})
    for part in (schema, *schema.get("anyOf", [])):
        name = part.get("$ref", "").rsplit("/", 1)[-1]
        yield document["components"]["schemas"][name] if name else part


def test_every_operation_with_a_body_has_an_example(document):
    with_body = {str(operation) for operation in operations(document) if operation.body is not None}
    assert {f"{method.upper()} {path}" for method, path, _ in examples(document)} == with_body
    assert len(with_body) >= 8


def test_every_request_example_is_taken_as_it_is_but_for_its_ids(client, document, named):
    for method, path, body in examples(document):
        real = {**named, **named.get(path, {})}
        target = path.format(**{name: value for name, value in real.items() if isinstance(name, str)})
        answer = client.request(method, target, json=filled(body, real))
        assert answer.is_success, (path, answer.text)


def test_every_example_of_a_parameter_is_taken(client, document, named):
    tried = 0
    taken = [operation for operation in operations(document) if operation.method == "GET" or operation.binary]
    for operation in taken:
        for parameter in operation.parameters:
            values = parameter.get("examples") or parameter.get("schema", {}).get("examples") or []
            for value in [value for value in values if parameter["in"] in ("query", "header") and value is not None]:
                place = "params" if parameter["in"] == "query" else "headers"
                content = {"content": UPLOAD} if operation.binary else {}
                if operation.body is not None:
                    continue  # those of POSTs with a body are the same, and would be done twice
                answer = client.request(
                    operation.method, operation.target(named), **{place: {parameter["name"]: value}}, **content
                )
                assert answer.is_success, (str(operation), parameter["name"], answer.text)
                tried += 1
    assert tried


def test_every_example_of_an_answer_is_what_its_schema_says(document):
    checked = 0
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            for status, answer in said["responses"].items():
                media = answer.get("content", {}).get("application/json", {})
                for schema in schemas_of(document, media):
                    for example in [*schema.get("examples", []), *([media["example"]] if "example" in media else [])]:
                        validator = validator_for({**schema, "components": document["components"]})
                        errors = [error.message for error in validator.iter_errors(example)]
                        assert not errors, (method, path, status, errors)
                        checked += 1
    assert checked > 20


def test_the_answers_to_the_examples_are_what_the_schemas_say(client, document, named):
    for method, path, body in examples(document):
        real = {**named, **named.get(path, {})}
        answer = client.request(method, path.format(**real), json=filled(body, real))
        said = document["paths"][path][method]["responses"][str(answer.status_code)]
        for schema in schemas_of(document, said["content"]["application/json"]):
            validator = validator_for({**schema, "components": document["components"]})
            assert not [error.message for error in validator.iter_errors(answer.json())], path


def test_every_name_in_an_example_is_one_that_the_code_knows(document):
    """Codes, baselines, protocols, events, keys of reports: whatever an example names exists."""
    known = names_in_code()
    unknown = {
        (schema, name)
        for schema, said in document["components"]["schemas"].items()
        for example in said.get("examples", [])
        for name in names_of(example)
        if name not in known and name not in PEOPLES
    }
    assert unknown == set()


def test_failures_and_baselines_of_examples_are_those_that_exist(document):
    schemas = document["components"]["schemas"]
    [fleet] = schemas["FleetRead"]["examples"]
    assert {error["code"] for error in fleet["errors"]} <= CODES
    found = [part for said in schemas.values() for example in said.get("examples", []) for part in parts_of(example)]
    baselines = [part["baselines"] for part in found if part.get("baselines")]
    protocols = [part["protocols"] for part in found if part.get("protocols")]
    assert baselines
    assert {name for each in baselines for name in each} <= set(BASELINES)
    assert {
        name for each in [*protocols, *(table for each in baselines for table in each.values())] for name in each
    } <= (set(PROTOCOLS))


def parts_of(example):
    """The example's objects, at any depth."""
    if isinstance(example, dict):
        yield example
    for part in example.values() if isinstance(example, dict) else example if isinstance(example, list) else ():
        yield from parts_of(part)


def names_of(example):
    """Keys, and values that look like names of a program's."""
    for part in parts_of(example):
        yield from part
        values = [each for value in part.values() for each in (value if isinstance(value, list) else [value])]
        yield from (value for value in values if isinstance(value, str) and NAME.fullmatch(value))


@cache
def names_in_code():
    """String constants outside the schemas, which hold the examples; literals, and names of fields and arguments anywhere."""
    found = set()
    for file in [path for package in ("hrmodel", "service", "worker") for path in (ROOT / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "schemas" not in file.name:
                found.add(node.value)
            elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
                found |= {each.value for each in ast.walk(node.slice) if isinstance(each, ast.Constant)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.arg | ast.keyword) and node.arg:
                found.add(node.arg)
    return found
