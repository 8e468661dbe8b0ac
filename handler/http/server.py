"""The process: the HTTP server on a thread of its own, ComfyUI's start on the main one.

ComfyUI and node packs start on the main thread because some of what they import can do no other;
the server answers from the first moment on.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import socket
import threading
from typing import TYPE_CHECKING, Self

import uvicorn

from comfyui_runtime.errors import ServiceError
from handler.contract.errors import ConfigurationError, StorageError
from handler.http.app import make_app, make_probe_app
from handler.http.connection import (
    ConnectionLimits,
    LimitedConnection,
    limits_within,
    raise_file_limit,
)
from handler.http.results import ServedFolder, with_whole_urls
from handler.http.service import Service
from handler.job.records import JobRecords
from handler.job.service import JobService
from handler.job.start import start
from handler.process_end import end_now
from handler.shelf import FolderShelf, open_storage
from handler.webhooks import open_webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from fastapi import APIRouter, FastAPI

    from handler.http.refusals import MountedApi
    from handler.settings import Settings
    from handler.shelf import Shelf
    from handler.webhooks import Webhooks

log = logging.getLogger(__name__)

_BACKLOG = 2048
# Longer than load balancers keep idle connections to a backend (Google's: 600 s), so that none
# sends a request on one that is just being closed.
_KEEP_ALIVE = 620
_LAST_ANSWERS = 5
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def serve(
    settings: Settings,
    routers: Sequence[APIRouter] = (),
    probes: Sequence[APIRouter] = (),
    open_api: Callable[[Service, Shelf], MountedApi] | None = None,
) -> int:
    """Serve until told to stop.

    Args:
        routers: Further routes, such as those that platforms fix.
        probes: The routes that the port for probes answers, where the settings name one.
        open_api: Returns a whole API beside this one.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 if the worker has to be replaced.

    Raises:
        BootError: ComfyUI could not be started.
        ConfigurationError: A setting cannot work.
    """
    if settings.previews is None:
        settings = settings.model_copy(update={"previews": True})
    host = settings.listen_address
    if settings.api_token is None and host not in _LOOPBACK:
        log.warning(
            "no API_TOKEN is set: whoever reaches this port may send jobs", extra={"host": host}
        )
    stop = _Stop()
    jobs = JobService(settings, lambda: stop.request(1), _records(settings), _webhooks(settings))
    service = Service(settings, jobs=jobs)
    storage = served_storage(settings, service)
    api = None if open_api is None else open_api(service, storage)
    app = make_app(service, routers, () if api is None else (api,))
    with (
        HttpServer(app, host, settings.port, limits_within(raise_file_limit())) as server,
        _probe_server(service, host, probes),
        stop.signals(),
    ):
        log.info("listening", extra={"host": host, "port": server.port})

        def stopping(status: int) -> None:
            log.info("stopping", extra={"status": status})
            service.close()
            if api is not None:
                api.close()

        def end(status: int) -> None:
            stopping(status)
            server.close()

        try:
            with stop.ending_process(end):
                function = start(settings, storage, service.metrics.booted)
        except ServiceError as error:
            service.boot_failed(error)
            raise
        service.booted(function)
        status = stop.wait()
        stopping(status)
    return status


def _probe_server(
    service: Service, host: str, probes: Sequence[APIRouter]
) -> contextlib.AbstractContextManager[object]:
    """Return a server of the probes alone, where they have a port of their own."""
    port = service.settings.health_port
    if port is None or port == service.settings.port:
        return contextlib.nullcontext()
    log.info("probes are answered", extra={"host": host, "port": port})
    return HttpServer(make_probe_app(service, probes), host, port)


def _records(settings: Settings) -> JobRecords | None:
    try:
        return JobRecords.open(settings)
    except StorageError as error:
        log.warning("jobs are forgotten when the process ends", extra={"error": error.message})
        return None


def _webhooks(settings: Settings) -> Webhooks | None:
    url = settings.public_url
    if url is None:
        return open_webhooks(settings)
    return open_webhooks(settings, lambda response: with_whole_urls(response, url))


def served_storage(settings: Settings, service: Service) -> Shelf:
    """Return where results go; those in a local folder get addresses of this server."""
    storage = open_storage(settings)
    if isinstance(storage, FolderShelf):
        return ServedFolder(storage.folder, service.links)
    return storage


class HttpServer:
    """Uvicorn on a thread: listens when made, answers inside ``with``, sends last answers after.

    Args:
        port: 0 for any that is free.
        limits: What connections may take.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
    ) -> None:
        connection = type("Connection", (LimitedConnection,), {"limits": limits})
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigurationError(
                f"{host}:{port} cannot be listened on ({error.strerror}): set HOST and PORT to an "
                "address of this machine that is free."
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=connection,
            ws="none",
            log_config=None,
            # Addresses of results carry signatures.
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="http", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send the last answers; listen no more."""
        self._server.should_exit = True
        self._thread.join(2 * _LAST_ANSWERS)
        self._socket.close()


class _Stop:
    """The wish to stop: by a signal, or because the worker is broken."""

    def __init__(self) -> None:
        # Its put may be called from a signal handler while the main thread is inside get.
        self._statuses: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def request(self, status: int) -> None:
        """Ask for the end. Safe from any thread."""
        self._statuses.put(status)

    def wait(self) -> int:
        """Wait for the wish, for as long as it takes, and return the exit status."""
        while (status := self._statuses.get()) is None:
            pass
        return status

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT inside; a second SIGINT ends the process as it always does."""
        kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in kept:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def ending_process(self, end: Callable[[int], None]) -> Iterator[None]:
        """End the process when a wish to stop comes inside, after ``end`` with its status.

        What runs inside is not broken off: an exception that a signal raises while C code is being
        imported has that code abort the process.
        """
        left = threading.Lock()
        thread = threading.Thread(target=self._end_process, args=(end, left), daemon=True)
        thread.start()
        try:
            yield
        finally:
            left.acquire()  # for good, unless the process is ending
            self._statuses.put(None)
            thread.join()

    def _end_process(self, end: Callable[[int], None], left: threading.Lock) -> None:
        status = self._statuses.get()
        if status is None:
            return
        if not left.acquire(blocking=False):
            self._statuses.put(status)
            return
        try:
            end(status)
        finally:
            end_now(status)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.request(0)
