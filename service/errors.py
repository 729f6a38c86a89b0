"""What can go wrong, by status and code. Knows no web: one handler turns these into problem+json."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FieldError:
    """One wrong place in the input: a JSON pointer (or `?name` of a query parameter) and what is wrong there."""

    pointer: str
    message: str


@dataclass(eq=False)
class ServiceError(Exception):
    """An error that the caller can read and act on."""

    code: str
    detail: str
    errors: list[FieldError] = field(default_factory=list)
    retry_after: int | None = None

    status = 500
    title = "Internal error"

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class BadRequest(ServiceError):
    """The request cannot be read."""

    status, title = 400, "Bad request"


class Unauthorized(ServiceError):
    """No valid key."""

    status, title = 401, "Unauthorized"


class Forbidden(ServiceError):
    """The key lacks a scope."""

    status, title = 403, "Forbidden"


class NotFound(ServiceError):
    """Missing, or another account's."""

    status, title = 404, "Not found"


class RequestTimeout(ServiceError):
    """The request did not arrive in time."""

    status, title = 408, "Request timeout"


class Conflict(ServiceError):
    """Right request, wrong state."""

    status, title = 409, "Conflict"


class TooLarge(ServiceError):
    """The body is over the limit."""

    status, title = 413, "Content too large"


class UriTooLong(ServiceError):
    """The address is over the limit."""

    status, title = 414, "URI too long"


class UnsupportedType(ServiceError):
    """A content type that is not taken here."""

    status, title = 415, "Unsupported media type"


class Unprocessable(ServiceError):
    """Readable, but values are wrong."""

    status, title = 422, "Unprocessable content"


class TooManyRequests(ServiceError):
    """Slow down."""

    status, title = 429, "Too many requests"


class HeadersTooLarge(ServiceError):
    """The headers are over the limit."""

    status, title = 431, "Request header fields too large"


class Unavailable(ServiceError):
    """Something that the service needs is away; try later."""

    status, title = 503, "Service unavailable"
