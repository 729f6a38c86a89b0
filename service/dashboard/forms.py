"""Forms of the dashboard: small bodies of name=value pairs."""

from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from service.errors import BadRequest
from service.web.body import read_body

MAX_FORM_BYTES = 10_000
HOME = "/"


async def read_form(request: Request) -> dict[str, str]:
    """Each field's last value. Raises BadRequest or TooLarge."""
    try:
        text = (await read_body(request, MAX_FORM_BYTES)).decode()
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise BadRequest("invalid_form", "The form cannot be read.") from error
    return {name: values[-1] for name, values in fields.items()}


def local_page(address: str) -> str:
    """The address if it is a path on this server, else the first page."""
    parts = urlsplit(address)
    is_local = (
        not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith(("//", "/\\"))
    )
    return address if is_local else HOME
