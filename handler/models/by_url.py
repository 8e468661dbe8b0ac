"""Models that an event names by URL: fetched from allowed hosts, and kept for later jobs.

The cache is a models folder of its own: ComfyUI finds what is in it by name, the digest of the
address. What was not used for longest goes first, and never what a job uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

import httpcore

from comfyui_runtime.errors import ModelError
from comfyui_runtime.run.model_files import check_safetensors, same_folders
from handler.contract.errors import (
    ConfigurationError,
    FetchError,
    FetchUnavailableError,
    ForbiddenAddressError,
    InputError,
    InputTooLargeError,
    NotMediaError,
)
from handler.inputs.guard import AddressGuard, resolve_with_system
from handler.inputs.source import parse_http_url
from handler.inputs.time_limit import TimeLimit
from handler.models.errors import ModelFetchError, RefusedModelError, TooLargeModelError
from handler.models.lock import only_fetch
from handler.models.part import PART_SUFFIX, PartFile
from handler.models.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from comfyui_runtime.run.cancellation import Cancellation
    from handler.inputs.guard import Resolver
    from handler.inputs.source import HttpUrl
    from handler.settings import Settings

log = logging.getLogger(__name__)

_FOLDER = re.compile(r"[A-Za-z0-9_-]+")
_SUFFIX = ".safetensors"
_LOOK_AGAIN = 0.25
_LEFT_SECONDS = 24 * 3600.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class UrlModels:
    """The cache, which several workers may share.

    The worker's own tokens are not sent: whoever calls would read with the operator's account.

    Args:
        settings: Allowed hosts, folder and limits.
        resolve: Finds a host's addresses.
        network: Connects to an address that was found fit.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolve: Resolver = resolve_with_system,
        network: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._settings = settings
        self._hosts = frozenset(host.lower() for host in settings.model_url_hosts)
        guard = AddressGuard(settings.input_allowed_hosts)
        self._web = Web(guard, resolve, network or httpcore.SyncBackend())
        self._lock = threading.Lock()
        self._in_use: Counter[Path] = Counter()

    def make_folder(self) -> None:
        """Make the cache's folder, so that ComfyUI, when it starts, looks into it.

        Raises:
            ConfigurationError: It cannot be made.
        """
        folder = self._settings.url_cache_dir
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"Set MODEL_URL_CACHE_DIR to a folder that can be written to: {folder} cannot be "
                f"made ({error.strerror})."
            ) from error

    def for_job(self) -> JobModels:
        """Return what gets one job's models, and lets them go at its end."""
        return JobModels(self)

    def use(self, folder: str, address: str, cancellation: Cancellation) -> InUse:
        """Return a model's file, fetched if the cache lacks it, to be let go of by ``close``.

        Args:
            folder: Its folder kind.
            address: An https URL.
            cancellation: The job's.

        Raises:
            InputError: It cannot be had; the subclass says whose matter it is.
            CancelledError: The job was cancelled.
            DeadlineError: The job's time is up.
        """
        url = self._allowed(address)
        path = self._path(folder, url)
        limit = TimeLimit(self._settings.model_url_timeout, cancellation)
        with _explained(url, limit):
            while (held := self._hold(path)) is None:
                with only_fetch(path) as alone:
                    if alone and not path.exists():
                        self._fetch(url, path, limit)
                        continue
                limit.pause(_LOOK_AGAIN)
        return held

    def _allowed(self, address: str) -> HttpUrl:
        try:
            url = parse_http_url(address)
        except ValueError as error:
            raise InputError(f"Fix the URL of a model: {error}.") from error
        if not ({url.host, f"{url.host}:{url.port}"} & self._hosts):
            raise ForbiddenAddressError(
                f"Models are not fetched from {url.authority} for callers. Name a model that is "
                "installed; an operator can allow the host in MODEL_URL_HOSTS.",
                url=url.shown,
                host=url.host,
            )
        if url.scheme != "https" and url.host not in _LOOPBACK:
            raise ForbiddenAddressError(
                f"Give {url.shown} as an https address: a model that comes over http may be "
                "anybody's.",
                url=url.shown,
            )
        return url

    def _path(self, folder: str, url: HttpUrl) -> Path:
        cache = self._settings.url_cache_dir
        if cache is None or not _FOLDER.fullmatch(folder):
            raise InputError(f"Models of the folder {folder!r} cannot be given by URL.")
        whole = f"{url.scheme}://{url.authority}{url.target}"
        name = hashlib.sha256(whole.encode()).hexdigest()[:40]
        return cache / same_folders(folder)[0] / f"{name}{_SUFFIX}"

    def _fetch(self, url: HttpUrl, path: Path, limit: TimeLimit) -> None:
        part = PartFile(path, self._settings.model_url_max_bytes)
        started = time.monotonic()
        whole = f"{url.scheme}://{url.authority}{url.target}"
        stated = self._web.fetch(whole, part, limit)
        _check(part, url)
        if stated is not None and part.digest() != stated:
            part.discard()
            raise ModelFetchError(f"{url.shown} sent other bytes than it states", passing=True)
        size = part.size
        part.keep_as(path)
        seconds = round(time.monotonic() - started, 1)
        log.info("model fetched", extra={"from": url.shown, "bytes": size, "seconds": seconds})

    def _hold(self, path: Path) -> InUse | None:
        """Return the file, marked as used now; ``None`` where the cache lacks it."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):  # not every file system knows locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        status = os.fstat(descriptor)
        try:
            is_same = path.stat().st_ino == status.st_ino
        except FileNotFoundError:
            is_same = False
        if not is_same:  # removed meanwhile
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):
            # The time of change stays: caches of ComfyUI's know the file again by it.
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        with self._lock:
            self._in_use[path] += 1
            held = InUse(path, descriptor, self)
        self._make_room()
        return held

    def let_go(self, path: Path) -> None:
        """Note that a job uses a file no more."""
        with self._lock:
            self._in_use[path] -= 1

    def _make_room(self) -> None:
        folder = self._settings.url_cache_dir
        if folder is None:
            return
        files: list[tuple[float, int, Path]] = []
        for path in folder.glob(f"*/*{_SUFFIX}*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.name.endswith(_SUFFIX):
                    files.append((status.st_atime, status.st_size, path))
                elif PART_SUFFIX in path.name and time.time() - status.st_mtime > _LEFT_SECONDS:
                    path.unlink(missing_ok=True)  # nobody came back for it
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._settings.model_url_cache_max_bytes:
                return
            if self._remove(path):
                log.info("cached model removed", extra={"path": str(path), "bytes": size})
                total -= size

    def _remove(self, path: Path) -> bool:
        """Remove a file unless a job, of this worker or of another one, uses it."""
        with self._lock:
            if self._in_use[path] > 0:
                return False
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except OSError:
                return False
            finally:
                os.close(descriptor)
            return True


class InUse:
    """A file of the cache that a job uses.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, descriptor: int, cache: UrlModels) -> None:
        self.path = path
        self._descriptor = descriptor
        self._cache = cache

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
        self._cache.let_go(self.path)


class JobModels:
    """The models that one job names by URL. Use as a context manager."""

    def __init__(self, cache: UrlModels) -> None:
        self._cache = cache
        self._held: dict[tuple[str, str], InUse] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held.values():
            held.close()

    def name_of(self, folder: str, address: str, cancellation: Cancellation) -> str:
        """Return the name by which ComfyUI finds a model; see :meth:`UrlModels.use`."""
        place = (folder, address)
        if place not in self._held:
            self._held[place] = self._cache.use(folder, address, cancellation)
        return self._held[place].path.name


def _check(part: PartFile, url: HttpUrl) -> None:
    """Check that what has arrived is a safetensors file; remove it if not.

    Raises:
        NotMediaError: It is something else. Other formats of models may run code when loaded.
    """
    # The library's reader goes by the content alone.
    try:
        check_safetensors(part.path)
    except ModelError as error:
        part.discard()
        raise NotMediaError(
            f"{url.shown} is not a whole safetensors file, and no other format is taken: others "
            "may run code when they are loaded.",
            url=url.shown,
        ) from error


@contextlib.contextmanager
def _explained(url: HttpUrl, limit: TimeLimit) -> Iterator[None]:
    """Turn what keeps a model from being fetched into errors that say what to change."""
    try:
        yield
    except RefusedModelError as error:
        raise ForbiddenAddressError(f"The model cannot be fetched: {error}.", url=url.shown) from (
            error
        )
    except TooLargeModelError as error:
        raise InputTooLargeError(
            f"The model {url.shown} cannot be fetched: {error}. Use a smaller one, or raise "
            "MODEL_URL_MAX_BYTES.",
            url=url.shown,
        ) from error
    except ModelFetchError as error:
        kind = FetchUnavailableError if error.passing else FetchError
        raise kind(f"The model cannot be fetched: {error}.", url=url.shown) from error
    except TimeoutError as error:
        raise FetchUnavailableError(
            f"The model {url.shown} did not arrive within {limit.seconds:g} s. Send the job again, "
            "which goes on from what has arrived, or raise MODEL_URL_TIMEOUT_SECONDS.",
            url=url.shown,
        ) from error
    except OSError as error:
        raise FetchUnavailableError(
            f"The model {url.shown} cannot be kept: MODEL_URL_CACHE_DIR cannot be written to "
            f"({error.strerror or type(error).__name__}).",
            url=url.shown,
        ) from error
