"""Pages from templates. Their content security policy allows files and requests of this server only."""

import json
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi.encoders import jsonable_encoder
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.registry.tables import PERSONAL_STAGES, Stage
from service.web.held_files import HeldFiles
from service.web.sessions import cookie_of

STATIC = "/ui/static"
FOLDER = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'"
)
# the CSRF check needs the origin in a form's request
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
LABELS = {stage.value: stage.label for stage in Stage}


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a piece of one."""
    signed_in = cookie_of(request) is not None and status != 401
    static = f"{STATIC}/{static_files().version}"
    text = _environment().get_template(template).render(**values, static=static, signed_in=signed_in)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def is_page(request: Request) -> bool:
    """Whether the address is that of a page, so that its errors are pages, too."""
    path = request.url.path
    return path == "/" or (path.startswith("/ui/") and not path.startswith(f"{STATIC}/"))


def error_page(request: Request, status: int, title: str, detail: str) -> HTMLResponse | None:
    """The page of an error; None for an address of the API."""
    if not is_page(request):
        return None
    return render(request, "error.html", status, error={"title": title, "detail": detail})


@lru_cache(maxsize=1)
def static_files() -> HeldFiles:
    """The files that pages load."""
    return HeldFiles(FOLDER)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(data=data, bpm=bpm, day=day, moment=moment, clock=clock, words=words, short=short)
    made.globals["personal_stages"] = PERSONAL_STAGES
    return made


def data(value: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it ends the element."""
    text = json.dumps(jsonable_encoder(value), separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def bpm(value: float | None) -> str:
    """An error or a heart rate."""
    return "–" if value is None else f"{value:.1f}"


def day(value: datetime | None) -> str:
    """A date."""
    return "–" if value is None else f"{value:%Y-%m-%d}"


def moment(value: datetime | None) -> str:
    """A date and a time, UTC."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def clock(seconds: float | None) -> str:
    """1:02:03 or 2:03."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def words(name: str) -> str:
    """stage1 -> stage 1, heart_rate_spike -> heart rate spike."""
    return LABELS.get(name, name.replace("_", " "))


def short(value: object) -> str:
    """The first characters of an id."""
    return str(value)[:8]
