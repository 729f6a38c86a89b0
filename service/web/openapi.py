"""The OpenAPI document: one description of errors for all operations."""

from functools import cache
from typing import Any

import orjson
from anyio import to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from service.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    RequestTimeout,
    ServiceError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedType,
)
from service.web.body import LIMITS, USUAL
from service.web.error_handlers import MEDIA_TYPE

_ERRORS: dict[int, type[ServiceError]] = {
    error.status: error
    for error in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        RequestTimeout,
        Conflict,
        TooLarge,
        UnsupportedType,
        Unprocessable,
        TooManyRequests,
        ServiceError,
        Unavailable,
    )
}
_ALWAYS = (422, 500, 503)
_WITH_KEY = (401, 403, 429)
_WITH_BODY = (400, 413, 415)
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A PNG",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}, "example": "(the picture)"}},
    }
}
DESCRIPTION = (
    "Learns one person's heart-rate response from their own workouts and predicts it: upload workouts, train stage 1, "
    "train stage 2, read the metrics, ask for a prediction. Errors are RFC 9457 problems."
)


class ProblemField(BaseModel):
    """One wrong place in the request."""

    pointer: str
    message: str


class Problem(BaseModel):
    """RFC 9457. `code` is for programs, `detail` for people; `errors` names the places, if there are any."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:stagewise:problem:invalid_request",
                    "title": "Unprocessable content",
                    "status": 422,
                    "code": "invalid_request",
                    "detail": "These values are not valid: /speed/17.",
                    "errors": [{"pointer": "/speed/17", "message": "must be 0 or more"}],
                    "request_id": "0f8fad5bd9cb469fa16570867728950e",
                }
            ]
        }
    )
    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemField]
    request_id: str


def problems(*statuses: int, key: bool = True, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error responses of an operation: `statuses`, and those of authentication and a JSON body."""
    every = sorted({*statuses, *_ALWAYS, *(_WITH_KEY if key else ()), *(_WITH_BODY if body else ())})
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _ERRORS[status].title, "content": content} for status in every}


def operation_id(route: APIRoute) -> str:
    """The function's name."""
    return route.name


def describe(app: FastAPI) -> None:
    """Let the application's document hold the problem's schema."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=app.openapi_tags
            )
            template = "#/components/schemas/{model}"
            problem = Problem.model_json_schema(ref_template=template)
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(problem.pop("$defs"), Problem=problem)
            _restore_nulls(schemas)
            for operations in made["paths"].values():
                for operation in operations.values():
                    _name_limit(operation)
            app.openapi_schema = made
        return app.openapi_schema

    async def answer(request: Request) -> Response:
        """The document, made in a thread: the first time takes half a second."""
        return Response(await to_thread.run_sync(encoded), media_type="application/json")

    @cache
    def encoded() -> bytes:
        return orjson.dumps(document())

    app.openapi = document  # type: ignore[method-assign]
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != app.openapi_url]
    app.add_route(str(app.openapi_url), answer, include_in_schema=False)


def _name_limit(operation: dict[str, Any]) -> None:
    """Let an operation say how large its JSON body may be."""
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        limit = LIMITS.get(operation["operationId"], USUAL)
        most = f"{limit.bytes // 1024} KiB and {limit.values} values"
        operation["responses"]["413"]["description"] = f"{TooLarge.title}: a body holds at most {most}"


def _restore_nulls(schemas: dict[str, Any]) -> None:
    """Let the examples be as they were written: FastAPI leaves nulls out, of examples too."""
    models = [BaseModel]
    for model in models:
        models += model.__subclasses__()
        extra = model.model_config.get("json_schema_extra")
        if model.__module__.startswith("service.") and model.__name__ in schemas and isinstance(extra, dict):
            schemas[model.__name__].update(extra)
