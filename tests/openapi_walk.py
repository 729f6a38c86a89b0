"""The operations of a served OpenAPI document, with an example request for each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

Json = Any
IDS = (
    "dataset_id",
    "job_id",
    "version_id",
    "model_version_id",
    "base_model_version_id",
    "stage1_model_version_id",
    "parent_id",
)


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    parameters: tuple[dict[str, Any], ...]
    body: Json  # an example of it, with every field that names something; None without a JSON body
    binary: bool  # takes any bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def names(self) -> set[tuple[str, str]]:
        """Whatever in it names something of an account: path and query parameters, fields of the body."""
        found = {(p["in"], p["name"]) for p in self.parameters if is_name(p["name"]) and p["in"] in ("path", "query")}
        return found | {("body", name) for name in names_in(self.body)}

    def target(self, named: dict[str, Any]) -> str:
        """The path with its parameters taken from `named`."""
        return re.sub(r"{(\w+)}", lambda match: str(named[match[1]]), self.path)

    def query(self, named: dict[str, Any]) -> dict[str, str]:
        """The filters that `named` has something for."""
        return {name: str(named[name]) for place, name in self.names() if place == "query" and name in named}


def is_name(field: str) -> bool:
    """Whether a parameter or a field names something of an account."""
    return field == "subject" or field.endswith("_id")


def names_in(body: Json) -> set[str]:
    """The fields that name something, at any depth."""
    if isinstance(body, list):
        return {name for item in body for name in names_in(item)}
    fields = body if isinstance(body, dict) else {}
    return {name for name in fields if is_name(name)} | {name for item in fields.values() for name in names_in(item)}


def filled(body: Json, named: dict[str, Any]) -> Json:
    """The body with the fields that name something taken from `named`; what is not there is left out."""
    if isinstance(body, list):
        return [filled(item, named) for item in body]
    if not isinstance(body, dict):
        return body
    kept = {name: item for name, item in body.items() if not is_name(name) or name in named}
    return {name: str(named[name]) if is_name(name) else filled(item, named) for name, item in kept.items()}


def nothing() -> dict[str, Any]:
    """An id of nothing for every name."""
    return {"subject": f"nobody-{uuid4().hex[:8]}", "workout_id": uuid4().hex * 2, **{name: uuid4() for name in IDS}}


def operations(document: Json) -> Iterator[Operation]:
    """Every operation of the document."""
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            binary = "application/octet-stream" in said.get("requestBody", {}).get("content", {})
            yield Operation(method.upper(), path, tuple(said.get("parameters", [])), _example(document, said), binary)


def _example(document: Json, said: Json) -> Json:
    content = said.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    schema = _resolved(document, content["schema"])
    return {**schema.get("examples", [{}])[0], **{name: "" for name in schema["properties"] if is_name(name)}}


def _resolved(document: Json, schema: Json) -> Json:
    while "$ref" in schema or "anyOf" in schema:
        name = schema.get("$ref", "").rsplit("/", 1)[-1]
        schema = document["components"]["schemas"][name] if name else schema["anyOf"][0]
    return schema
