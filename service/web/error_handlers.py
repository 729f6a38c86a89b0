"""Every error leaves as one shape, RFC 9457 `application/problem+json`; those of pages are pages.

Nothing that the caller sent is echoed.
"""

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DatabaseError, IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.errors import BadRequest, Conflict, FieldError, ServiceError, Unavailable, Unprocessable
from service.registry import faults
from service.registry.session import spoken_reason

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_TEXT = 300
RETRY_SECONDS = 5
FULL_RETRY_SECONDS = 60
_CODES = {404: "route_not_found", 405: "method_not_allowed"}
_DETAILS = {
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not take this method.",
}
# pydantic's own words where they would show a piece of the input, or say less than they could
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "model_attributes_type": "must be a JSON object",
}

ErrorPage = Callable[[Request, int, str, str], Response | None]
"""Makes a page of an error's status, title and detail; None where the request does not ask for a page."""

log = structlog.get_logger(__name__)


def add_error_handlers(app: FastAPI, error_page: ErrorPage) -> None:
    """Let every exception that a request may raise become a problem, or the page that `error_page` makes of it."""
    app.state.error_page = error_page
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(IntegrityError, _integrity_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(OSError, _storage_error)
    for unavailable in (*faults.DATABASE_UNAVAILABLE, DatabaseError):
        app.add_exception_handler(unavailable, _database_unavailable)


def problem(request: Request, error: ServiceError, headers: dict[str, str] | None = None) -> Response:
    """The answer for an error."""
    return _problem(request, error.status, error.title, error, headers)


def problem_text(status: int, title: str, error: ServiceError, request_id: str | None = None) -> str:
    """The body of the answer for an error."""
    content = {
        "type": f"urn:stagewise:problem:{error.code}",
        "title": title,
        "status": status,
        "code": error.code,
        "detail": error.detail,
        "errors": [{"pointer": item.pointer, "message": item.message} for item in error.errors],
        "request_id": request_id,
    }
    return json.dumps(content)


def internal_error(request: Request) -> Response:
    """The answer for an internal error: only the request id, no details."""
    error = ServiceError("internal_error", "Something went wrong here. The log has the reason under the request id.")
    return problem(request, error)


def field_errors(errors: Sequence[Any]) -> list[FieldError]:
    """Pydantic's errors as pointers and messages that repeat nothing of the input."""
    return [FieldError(_pointer(error), _message(error)) for error in errors[:MAX_ERRORS]]


def escape(part: object) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")[:MAX_TEXT]


def _problem(
    request: Request, status: int, title: str, error: ServiceError, headers: dict[str, str] | None = None
) -> Response:
    error_page: ErrorPage = request.app.state.error_page
    if (page := error_page(request, status, title, error.detail)) is not None:
        return page
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    content = problem_text(status, title, error, getattr(request.state, "request_id", None))
    return Response(content, status, headers, MEDIA_TYPE)


def _pointer(error: Any) -> str:
    place, *rest = error["loc"] or ("body",)
    if place == "body":
        rest += (error.get("ctx") or {}).get("at", ())
        return "".join(f"/{escape(part)}" for part in rest)
    name = ".".join(escape(part) for part in rest)
    return f"?{name}" if place == "query" else name


def _message(error: Any) -> str:
    message = _MESSAGES.get(error["type"]) or error["msg"]
    return str(message).removeprefix("Value error, ")[:MAX_TEXT]


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return problem(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    invalid = field_errors(error.errors())
    places = ", ".join(item.pointer or "the body" for item in invalid[:3])
    more = ", ..." if len(invalid) > 3 else ""
    return problem(request, Unprocessable("invalid_request", f"These values are not valid: {places}{more}.", invalid))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = _CODES.get(status, status.phrase.lower().replace(" ", "_"))
    content = ServiceError(code, _DETAILS.get(status, f"{status.phrase}."))
    return _problem(request, status, status.phrase.capitalize(), content, dict(error.headers or {}))


async def _database_unavailable(request: Request, error: Exception) -> Response:
    """What keeps the database from working; a fault of the statement is raised unchanged."""
    fault = faults.fault_of(error)
    if fault is None:
        raise error
    log.error(f"database {fault}", error=type(error).__name__, reason=spoken_reason(error)[:MAX_TEXT])
    return problem(request, Unavailable(faults.CODES[fault], faults.SENTENCES[fault], retry_after=RETRY_SECONDS))


async def _storage_error(request: Request, error: Exception) -> Response:
    """A disk that is full or may not be written; any other OSError is raised unchanged."""
    assert isinstance(error, OSError)
    if error.errno in faults.NO_SPACE:
        fault, detail = faults.Fault.FULL, "The disk is full; nothing was stored. Make room."
    elif error.errno in faults.READ_ONLY:
        fault, detail = faults.Fault.READ_ONLY, "The artifact folder cannot be written; nothing was stored."
    else:
        raise error
    log.error(f"storage {fault}", error=type(error).__name__, reason=error.strerror)
    return problem(request, Unavailable(faults.CODES[fault], detail, retry_after=FULL_RETRY_SECONDS))


async def _integrity_error(request: Request, error: Exception) -> Response:
    log.warning("constraint refused a write", reason=spoken_reason(error)[:MAX_TEXT])
    detail = "Something that this request refers to changed at the same time; look and try again."
    return problem(request, Conflict("changed_meanwhile", detail))


async def _disconnected(request: Request, error: Exception) -> Response:
    return problem(
        request, BadRequest("client_disconnected", "The connection ended before the whole request was there.")
    )
