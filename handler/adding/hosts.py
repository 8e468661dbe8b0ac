"""What a model's host says of a file without sending it: size and SHA-256, in headers."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import Message

    from handler.adding.models import NamedModel

_TIMEOUT = 5.0
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


def with_sizes(models: Iterable[NamedModel]) -> tuple[list[NamedModel], list[str]]:
    """Ask each model's host for size and SHA-256.

    Returns:
        The models, and the hosts that could not be reached; each is tried once.
    """
    silent: list[str] = []
    described = []
    for model in models:
        host = urllib.parse.urlsplit(model.url or "").netloc
        if model.url is None or host in silent:
            described.append(model)
            continue
        try:
            headers = _headers(model.url)
        except urllib.error.HTTPError:
            described.append(model)  # reached; this file it does not give without an account
        except (urllib.error.URLError, OSError, ValueError):
            silent.append(host)
            described.append(model)
        else:
            described.append(_described(model, headers))
    return described, silent


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Hugging Face states size and digest in the redirect itself, not behind it."""

    def redirect_request(self, *_args: object) -> None:
        return None


def _headers(url: str) -> Message:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - http(s), from models.py
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            headers: Message = response.headers
    except urllib.error.HTTPError as error:
        if not 300 <= error.code < 400:  # noqa: PLR2004 - redirects
            raise
        headers = error.headers
    return headers


def _described(model: NamedModel, headers: Message) -> NamedModel:
    size = headers.get("x-linked-size") or headers.get("content-length")
    digest = _SHA256.fullmatch(headers.get("x-linked-etag") or "")
    return replace(
        model,
        size=int(size) if size and size.isdecimal() else model.size,
        sha256=model.sha256 or (digest[1] if digest else None),
    )
