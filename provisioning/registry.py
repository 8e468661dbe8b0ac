"""Fetch a node pack from ComfyUI's registry, where a pack's release is a zip archive.

The registry states no checksum. The sha256 of the first archive is kept in ``node_packs.lock``, as
``models.lock`` keeps those of models; from then on the archive must not change.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import re
import shutil
import stat
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from listed_models.lock_file import LockFileError, read_lock, record

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 60.0  # seconds without a byte
MAX_ANSWER = 10_000_000  # bytes
MAX_ARCHIVE = 2_000_000_000  # bytes, packed
MAX_UNPACKED = 8_000_000_000  # bytes
MAX_FILES = 100_000
CHUNK = 1 << 20  # bytes
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class RegistryError(Exception):
    """A pack could not be fetched, or is not what it should be; the message says what helps."""


@dataclass(frozen=True)
class Release:
    """A pack's release.

    Attributes:
        pack: The pack's id in the registry.
        version: As the registry has it.
        sha256: Of its archive, in lower-case hexadecimal; empty where node_packs.txt gives none.
    """

    pack: str
    version: str
    sha256: str

    @property
    def key(self) -> PurePosixPath:
        """What the lock file calls it."""
        return PurePosixPath(f"{self.pack}@{self.version}")


def fetch_release(release: Release, registry: str, lock: Path, folder: Path) -> None:
    """Fetch a release, check its archive and unpack it.

    Args:
        registry: The registry's address.
        lock: The file of checksums; a first one is recorded in it.
        folder: Where the pack's files are put; must not exist.

    Raises:
        RegistryError: The release is not there, or its archive is another one or unsafe to unpack.
        LockFileError: The lock file is malformed.
    """
    query = urllib.parse.urlencode({"version": release.version})
    address = f"{registry}/nodes/{urllib.parse.quote(release.pack, safe='')}/install?{query}"
    with tempfile.TemporaryFile() as archive:
        digest = _download(_archive_address(address, release), archive)
        expected = release.sha256 or read_lock(lock).get(release.key)
        if expected and digest != expected:
            source = "node_packs.txt" if release.sha256 else lock.name
            raise RegistryError(
                f"the archive of {release.key} has sha256 {digest}, but {source} says {expected}:"
                " the registry has another archive now. Look at what changed before you correct it."
            )
        _unpack(archive, folder, release)
    if not expected:
        record(lock, release.key, digest)
        print(f"    {release.key}: sha256 {digest}, recorded in {lock.name}")


def _archive_address(address: str, release: Release) -> str:
    with _open(address) as answer:
        try:
            found = json.loads(answer.read(MAX_ANSWER))
            archive, version = str(found["downloadUrl"]), str(found.get("version"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{address} does not name an archive of {release.key}.") from error
    if version != release.version:
        raise RegistryError(
            f"the registry has {release.pack} {version}, not {release.version}; correct"
            " node_packs.txt."
        )
    return archive


def _download(address: str, archive: IO[bytes]) -> str:
    """Write what an address answers with into a file; return its sha256."""
    digest = hashlib.sha256()
    size = 0
    with _open(address) as answer:
        expected = answer.headers.get("Content-Length")
        while chunk := answer.read(CHUNK):
            size += len(chunk)
            if size > MAX_ARCHIVE:
                raise RegistryError(f"{address} is larger than {MAX_ARCHIVE:,} bytes.")
            digest.update(chunk)
            archive.write(chunk)
    if expected is not None and size != int(expected):
        raise RegistryError(f"{address} broke off after {size:,} bytes; run this again.")
    return digest.hexdigest()


def _open(address: str) -> http.client.HTTPResponse:
    _check_address(address)
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310  # checked above
            address, timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        raise RegistryError(
            f"{address} answered {error.code}; correct the pack's id and version in node_packs.txt,"
            " or run this again later."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise RegistryError(
            f"{address} could not be reached: {error}. Where the registry is reached through a"
            " mirror, set COMFYUI_REGISTRY_URL."
        ) from error
    _check_address(answer.url)
    return answer


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise RegistryError(f"{address} is not an https address.")


def _unpack(archive: IO[bytes], folder: Path, release: Release) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            for member, path in list(_members(packed, release)):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise RegistryError(f"the archive of {release.key} cannot be unpacked: {error}.") from error


def _members(
    packed: zipfile.ZipFile, release: Release
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return the files of an archive and where each belongs in the pack's folder."""
    members = packed.infolist()
    if len(members) > MAX_FILES or sum(one.file_size for one in members) > MAX_UNPACKED:
        raise RegistryError(f"the archive of {release.key} is too large to be a node pack.")
    for member in members:
        path = PurePosixPath(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        outside = path.is_absolute() or ".." in path.parts or re.search(r"[\\:]", member.filename)
        if outside or kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise RegistryError(
                f"the archive of {release.key} has an entry that leaves the pack's folder or is no"
                f" file: {member.filename}."
            )
        if not member.is_dir():
            yield member, path


def main(arguments: list[str]) -> int:
    """Run from ``provision.sh``; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True, help="the registry's address")
    parser.add_argument("--lock", type=Path, required=True, help="the file of checksums")
    parser.add_argument("--folder", type=Path, required=True, help="where to put the pack's files")
    parser.add_argument("--sha256", default="", help="of the archive")
    parser.add_argument("pack", help="id in the registry")
    parser.add_argument("version")
    options = parser.parse_args(arguments)
    release = Release(options.pack, options.version, options.sha256)
    try:
        fetch_release(release, options.registry.rstrip("/"), options.lock, options.folder)
    except (RegistryError, LockFileError, OSError, http.client.HTTPException) as error:
        print(f"provision.sh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
