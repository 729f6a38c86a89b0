"""The client behind a proxy: only headers of proxies that the settings name are believed."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


class Proxies:
    """Addresses of proxies: single ones and networks."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self.trust = lru_cache(maxsize=4096)(self._trust)

    def _trust(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)

    def client(self, forwarded_for: str, peer: str) -> str:
        """The client of the first trusted proxy: the last address in the header that is not a trusted proxy.

        The client itself wrote the addresses before it.
        """
        client = peer
        for part in reversed(forwarded_for.split(",")):
            address = _address(part.strip())
            if address is None:
                break
            client = address
            if not self.trust(address):
                break
        return client


class BehindProxies:
    """Wraps the application: client, scheme and host of a request are taken from the headers of a trusted proxy.

    The scope's `peer` stays the address that the connection came from.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        client = scope.get("client")
        if scope["type"] == "http" and client is not None and self._proxies.trust(client[0]):
            scope = self._as_asked(scope, client[0])
        await self._app(scope, receive, send)

    def _as_asked(self, scope: Scope, peer: str) -> Scope:
        headers = Headers(scope=scope)
        forwarded_for = ", ".join(headers.getlist("x-forwarded-for"))
        changed = {
            **scope,
            "client": (self._proxies.client(forwarded_for, peer), 0) if forwarded_for else scope["client"],
        }
        scheme = headers.get("x-forwarded-proto", "").strip().lower()
        if scheme in ("http", "https"):
            changed["scheme"] = scheme
        host = headers.get("x-forwarded-host", "").strip()
        if host and "," not in host:
            kept = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", host.encode("latin-1")), *kept]
        return changed


def was_forwarded(headers: Headers) -> bool:
    """Whether a proxy says that it passed this request on."""
    return any(name in headers for name in FORWARDING)


def _address(text: str) -> str | None:
    """An address without its port; None when it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
