"""The bearer token, checked before anything of a request is read."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from handler.contract.errors import UnauthorizedError
from handler.http.refusals import MountedApi, refuse_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr
    from starlette.types import ASGIApp, Receive, Scope, Send

    from handler.http.results import ResultLinks

# Probes and lifecycle calls come from the platform, which has no token, and tell and change
# nothing of a caller's; the page's files hold no secret.
PROBES = frozenset({"/health", "/ready", "/ping", "/initialize", "/pre-stop"})
_OPEN_PATHS = PROBES | {"/"}
_OPEN_FOLDER = "/page/"


class BearerAuth:
    """ASGI middleware that refuses requests without the token.

    Args:
        links: Addresses of results that carry a signature need no token.
        apis: Those whose errors have a shape of their own.
    """

    def __init__(
        self, app: ASGIApp, token: SecretStr, links: ResultLinks, apis: Sequence[MountedApi] = ()
    ) -> None:
        self._app = app
        self._expected = _digest(token.get_secret_value())
        self._links = links
        self._apis = apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an allowed request on; answer 401 to others."""
        if scope["type"] != "http" or self._is_open(scope) or self._has_token(scope):
            await self._app(scope, receive, send)
            return
        error = UnauthorizedError(
            "This address needs the token of the setting API_TOKEN, sent as the header "
            "Authorization: Bearer TOKEN."
        )
        await refuse_at(scope["path"], error, self._apis)(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        return (
            path in _OPEN_PATHS
            or path.startswith(_OPEN_FOLDER)
            or self._links.is_signed(path, scope["query_string"])
        )

    def _has_token(self, scope: Scope) -> bool:
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        given = _digest(token.strip())
        return hmac.compare_digest(given, self._expected) and scheme.lower() == "bearer"


def _digest(token: str) -> bytes:
    """Return a digest: its comparison takes the same time whatever the token's length."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
