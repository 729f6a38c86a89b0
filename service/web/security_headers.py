"""Security headers of every answer: no content sniffing, no frames, a content security policy, no caching."""

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCS, STATIC = "/docs", "/static-offline-docs"  # the documentation page, and the files that it loads
FILES = (STATIC, "/ui/static")
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"))
REFERRER, UNSTORED = (b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store")
POLICY = b"content-security-policy"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class SecurityHeaders:
    """Wraps the application. A page that brings a policy of its own keeps it."""

    def __init__(self, app: ASGIApp, policies: dict[str, str]) -> None:
        self._app = app
        self._policies = {path: (POLICY, policy.encode("latin-1")) for path, policy in policies.items()}
        self._usual = (POLICY, NOTHING.encode("latin-1"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", ())
                names = {name for name, _ in own}
                ours = [*ALWAYS, REFERRER, self._policies.get(path, self._usual)]
                if not path.startswith(FILES):
                    ours.append(UNSTORED)
                message["headers"] = [*own, *(header for header in ours if header[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def page_policies(app: FastAPI) -> dict[str, str]:
    """What the documentation page may do: run its own files and the one script in it, and ask this server."""
    assert app.openapi_url is not None
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url, title=app.title, oauth2_redirect_url=app.swagger_ui_oauth2_redirect_url
    )
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in _INLINE_SCRIPT.findall(bytes(page.body).decode()))
    own = "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"  # it sets styles as it draws
    return {DOCS: f"{NOTHING}; script-src 'self' {allowed}; {own}"}


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
