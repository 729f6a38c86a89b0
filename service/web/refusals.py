"""The answer to a connection that ends before its request reaches the application."""

from service.errors import BadRequest, HeadersTooLarge, RequestTimeout, ServiceError, UriTooLong
from service.web.error_handlers import MEDIA_TYPE, problem_text

MALFORMED = BadRequest("malformed_request", "This is no HTTP request.")
TOO_LONG = UriTooLong("uri_too_long", "The address is too long.")
TOO_MANY_HEADERS = HeadersTooLarge("headers_too_large", "There are too many headers, or they are too long.")
PIPELINED = BadRequest("malformed_request", "Too many requests were sent ahead of their answers.")
TOO_SLOW = RequestTimeout("request_timeout", "The request did not arrive in time.")


def whole_answer(error: ServiceError) -> bytes:
    """A whole answer, as the error handlers give it."""
    body = problem_text(error.status, error.title, error)
    lines = [
        f"HTTP/1.1 {error.status} {error.title}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        *([f"retry-after: {error.retry_after}"] if error.retry_after else []),
        "connection: close",
    ]
    return "\r\n".join([*lines, "", body]).encode()
