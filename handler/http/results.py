"""Results in a local folder, under addresses of this server."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs, quote

from fastapi.responses import FileResponse

from handler.contract.errors import NotFoundError
from handler.contract.response import Success
from handler.job.kept import is_kept_result
from handler.shelf import FolderShelf

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from handler.contract.response import Response
    from handler.settings import Settings

    AnyResponse = TypeVar("AnyResponse", bound=Response)

RESULTS_PATH = "/v1/results/"
ASSETS_PATH = "/api/v2/assets/"
# What a browser could run in this server's name is downloaded, never shown.
_SHOWN = ("image/", "video/", "audio/")


class ResultLinks:
    """Paths of results; where the server has a token, signed ones that need none.

    Args:
        token: The server's token.
    """

    def __init__(self, token: SecretStr | None) -> None:
        secret = token.get_secret_value().encode() if token else None
        self._key = secret and hmac.digest(secret, b"result links", "sha256")

    def path(self, key: str, expires_in: int | None) -> str:
        """Return the path and query under which a result can be fetched.

        Args:
            expires_in: Seconds that they are valid; ``None`` for good, without a signature.
        """
        return self._signed(RESULTS_PATH + quote(key), key, expires_in)

    def asset_path(self, asset_id: str, expires_in: int) -> str:
        """Return the path and query under which an asset's bytes can be fetched.

        Args:
            expires_in: Seconds that they are valid.
        """
        path = f"{ASSETS_PATH}{asset_id}/content"
        return self._signed(path, path, expires_in)

    def _signed(self, path: str, message: str, expires_in: int | None) -> str:
        if self._key is None or expires_in is None:
            return path
        expires = int(time.time()) + expires_in
        return f"{path}?expires={expires}&signature={self._signature(message, expires)}"

    def is_signed(self, path: str, query: bytes) -> bool:
        """Say whether an address has a signature of its own that has not expired.

        Args:
            path: Decoded.
        """
        if self._key is None or not path.startswith((RESULTS_PATH, ASSETS_PATH)):
            return False
        values = parse_qs(query.decode("latin-1"))
        (expires, *_), (signature, *_) = values.get("expires", [""]), values.get("signature", [""])
        if not (expires.isascii() and expires.isdigit() and len(expires) <= len(str(2**63))):
            return False
        expected = self._signature(path.removeprefix(RESULTS_PATH), int(expires))
        genuine = hmac.compare_digest(signature.encode(), expected.encode())
        return genuine and time.time() < int(expires)

    def _signature(self, key: str, expires: int) -> str:
        message = f"{expires}:{key}".encode(errors="surrogateescape")
        return hmac.new(self._key or b"", message, hashlib.sha256).hexdigest()


class ServedFolder(FolderShelf):
    """A folder whose files this server hands out; its URLs are paths, made whole per request."""

    def __init__(self, folder: Path, links: ResultLinks) -> None:
        super().__init__(folder)
        self._links = links

    def url(self, key: str, *, expires_in: int | None = None) -> str:
        """Return a file's path on this server; see :meth:`handler.shelf.Shelf.url`."""
        return self._links.path(key, expires_in)


def with_whole_urls(response: AnyResponse, base_url: str) -> AnyResponse:
    """Return a response whose results' URLs name this server, as its caller reaches it.

    Args:
        base_url: Such as ``https://pictures.example.com``.
    """
    if not isinstance(response, Success):
        return response
    outputs = [
        output.model_copy(update={"url": base_url.rstrip("/") + output.url})
        if output.url and output.url.startswith(RESULTS_PATH)
        else output
        for output in response.outputs
    ]
    return response.model_copy(update={"outputs": outputs})


def result_file(settings: Settings, key: str) -> FileResponse:
    """Return a result's file.

    Raises:
        NotFoundError: There is no such result.
    """
    path = _file_path(settings.results_dir.absolute(), key)
    if path is None or is_kept_result(settings, path):
        raise NotFoundError("There is no such result; it may have been deleted.")
    response = FileResponse(path, headers={"X-Content-Type-Options": "nosniff"})
    response.headers["Cache-Control"] = settings.cache_control
    if not (response.media_type or "").startswith(_SHOWN) or "svg" in (response.media_type or ""):
        response.headers["Content-Disposition"] = "attachment"
    return response


def _file_path(folder: Path, key: str) -> Path | None:
    # Names with a leading dot are files that are being written.
    if "\0" in key or any(part in {"", "."} or part.startswith(".") for part in key.split("/")):
        return None
    path = folder / key
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        return path if inside and path.is_file() else None
    except OSError:  # a name that no file can have
        return None
