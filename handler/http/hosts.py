"""The Host header, checked where no token is: a page of another site must not call by its name.

With DNS rebinding, a page has its own name lead to this server's address; the browser then takes
the server for that page's site. Such a name has to be one that public DNS gives out.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from handler.contract.errors import ForbiddenHostError
from handler.http.auth import PROBES
from handler.http.refusals import MountedApi, refuse_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from handler.settings import Settings

ANY_HOST = "*"
# Public DNS has no names below these (RFC 6761, RFC 6762, ICANN's resolution of July 2024).
_NEVER_PUBLIC = frozenset({"localhost", "local", "internal", "test"})


class HostCheck:
    """ASGI middleware that refuses requests to a name that the settings do not allow."""

    def __init__(self, app: ASGIApp, settings: Settings, apis: Sequence[MountedApi] = ()) -> None:
        self._app = app
        self._apis = apis
        self._allowed = {entry.lower() for entry in settings.allowed_hosts}
        if settings.public_url:
            self._allowed.add((urlsplit(settings.public_url).hostname or "").lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an allowed request on; answer 421 to others."""
        host = _host_of(scope) if scope["type"] == "http" else ""
        if scope.get("path") in PROBES or self._is_allowed(host):
            await self._app(scope, receive, send)
            return
        error = ForbiddenHostError(
            f'The server does not answer under the name "{host[:253]}". Add it to ALLOWED_HOSTS, '
            "set PUBLIC_URL to the server's address, or set API_TOKEN.",
        )
        await refuse_at(scope["path"], error, self._apis)(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        labels = host.split(".")
        return (
            ANY_HOST in self._allowed
            or host in self._allowed
            or len(labels) == 1
            or labels[-1] in _NEVER_PUBLIC
            or any(f"*.{'.'.join(labels[i:])}" in self._allowed for i in range(1, len(labels)))
            or is_address(host)
        )


def is_address(host: str) -> bool:
    """Say whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _host_of(scope: Scope) -> str:
    # Browsers always send the header; what sends none is no page.
    value = Headers(scope=scope).get("host", "").strip().lower()
    if value.startswith("["):
        return value.partition("]")[0] + "]"
    return value.partition(":")[0].rstrip(".")
