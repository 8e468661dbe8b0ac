"""Downloading with aria2, which resumes after a break and opens several connections per file.

Access tokens are sent to their own host only. aria2 repeats a header at every redirect, and model
hosts redirect to storage elsewhere; so where a token applies, redirects are followed here first,
until they leave the token's host, and aria2 is given the address they lead to.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAX_REDIRECTS = 5
RESOLVE_TIMEOUT = 30.0  # seconds
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PART_SUFFIX = ".part"
ARIA2_CONTROL_SUFFIX = ".aria2"

ARIA2_OPTIONS = (
    "--no-conf",
    "--continue=true",
    "--allow-overwrite=true",
    "--auto-file-renaming=false",
    "--file-allocation=none",
    "--max-concurrent-downloads=3",
    "--max-connection-per-server=8",
    "--split=8",
    "--min-split-size=16M",
    "--auto-save-interval=1",
    "--max-tries=5",
    "--retry-wait=3",
    "--connect-timeout=20",
    "--timeout=60",
    "--summary-interval=30",
    "--console-log-level=warn",
    "--show-console-readout=false",
)


class DownloadError(Exception):
    """A file could not be fetched; the message says why and what helps."""


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Attributes:
        addresses: Where it is published; any of them will do.
        target: Where it belongs. Until it is complete it stands beside it, as ``.part``.
    """

    addresses: tuple[str, ...]
    target: Path

    @property
    def part(self) -> Path:
        """The file that aria2 writes to."""
        return self.target.with_name(self.target.name + PART_SUFFIX)

    @property
    def control(self) -> Path:
        """What aria2 keeps beside an unfinished file to resume from."""
        return self.part.with_name(self.part.name + ARIA2_CONTROL_SUFFIX)


def fetch(downloads: Sequence[Download], tokens: Mapping[str, str]) -> list[Download]:
    """Fetch files in one run of aria2, resuming those that an earlier run left unfinished.

    Args:
        downloads: What to fetch; the folders are made.
        tokens: Access token by host name, with the port where it is not the usual one.

    Returns:
        The downloads whose ``.part`` is complete. aria2 has said on standard error what became of
        the others.

    Raises:
        DownloadError: A host refused a token, or an address with a token led nowhere.
    """
    entries = [_entry(download, tokens) for download in downloads]
    for download in downloads:
        download.part.parent.mkdir(parents=True, exist_ok=True)
        if download.part.exists() and not download.control.exists():
            # Without aria2's record nothing tells which of its bytes were ever written.
            download.part.unlink()
    # Through a pipe, since the list may carry tokens: a file could outlive a run that is killed.
    subprocess.run(  # noqa: S603  # a fixed program; what varies is its input
        [  # noqa: S607  # found on PATH: its place differs by system
            "aria2c",
            *ARIA2_OPTIONS,
            f"--stop-with-process={os.getpid()}",
            "--input-file=-",
        ],
        input="".join(entries),
        text=True,
        check=False,
    )
    return [
        download
        for download in downloads
        if download.part.exists() and not download.control.exists()
    ]


def _entry(download: Download, tokens: Mapping[str, str]) -> str:
    options = f"  dir={download.part.parent}\n  out={download.part.name}\n"
    addresses = []
    for address in download.addresses:
        token = _token_for(address, tokens)
        final = _resolve(address, token) if token else address
        if token and _token_for(final, tokens) == token:
            # A header goes to every address of an entry, so this one has to be alone.
            return f"{final}\n{options}  header=Authorization: Bearer {token}\n"
        addresses.append(final)
    return "\t".join(addresses) + "\n" + options


def _token_for(address: str, tokens: Mapping[str, str]) -> str | None:
    parts = urllib.parse.urlsplit(address)
    private = parts.scheme == "https" or parts.hostname in LOOPBACK
    return tokens.get(parts.netloc.lower()) if private else None


def _resolve(address: str, token: str) -> str:
    """Follow redirects with the token until they leave its host; return where they lead."""
    host = urllib.parse.urlsplit(address).netloc.lower()
    opener = urllib.request.build_opener(_Unfollowed)
    for _ in range(MAX_REDIRECTS):
        request = urllib.request.Request(  # noqa: S310  # https, or loopback: see _token_for
            address, headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with opener.open(request, timeout=RESOLVE_TIMEOUT):
                return address
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            if error.code in {401, 403}:
                raise DownloadError(
                    f"{host} answered {error.code} to {address}: the token is wrong, expired, or"
                    " of an account that has not accepted the model's terms on its page."
                ) from error
            if not location:
                raise DownloadError(f"{host} answered {error.code} to {address}.") from error
            address = urllib.parse.urljoin(address, location)
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"{host} could not be reached for {address}: {error}.") from error
        if _token_for(address, {host: token}) is None:
            return address
    raise DownloadError(f"{host} redirected more than {MAX_REDIRECTS} times.")


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    """Reports a redirect as an error that carries its headers, so that each can be judged."""

    def redirect_request(self, *_: object) -> None:
        return None
