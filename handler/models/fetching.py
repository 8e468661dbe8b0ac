"""Fetches, in the background, the models that workflows need and no models folder has."""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfyui_runtime.errors import MissingModelError, ServiceError
from comfyui_runtime.run.cancellation import Cancellation
from comfyui_runtime.run.model_files import same_folders
from handler.inputs.guard import resolve_with_system
from handler.inputs.time_limit import TimeLimit
from handler.models.errors import ModelFetchError
from handler.models.hub_cache import cached_file
from handler.models.lock import only_fetch
from handler.models.objects import SCHEME, Objects
from handler.models.part import PartFile
from handler.models.web import AnyAddress, Web
from listed_models.model_file import NotAModelError, check_model_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from handler.models.needed import NeededModel
    from handler.settings import Settings

log = logging.getLogger(__name__)

_AT_ONCE = 3
_LOOK_AGAIN = 1.0
_TRY_AGAIN_AFTER = 60.0
_LONGEST_STOP = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Failure:
    problem: str
    passing: bool
    at: float


class ModelFetching:
    """The models that are being fetched, and those that could not be.

    Several workers may share the folder: one of them fetches a file, and the others go on with
    other files meanwhile, or wait. What a process that ended left unfinished is gone on with.

    Args:
        settings: Where to fetch to, tokens and limits.
        needed: What workflows load; what is there already is left alone.
        web: How to reach the hosts.
    """

    def __init__(
        self, settings: Settings, needed: Iterable[NeededModel], web: Web | None = None
    ) -> None:
        self._settings = settings
        self._folder = settings.fetch_dir
        self._folders = (settings.comfyui_base_dir / "models", *settings.all_model_dirs)
        self._web = web or Web(AnyAddress(), resolve_with_system, tokens=tokens(settings))
        self._objects = Objects(settings)
        self._changed = threading.Condition()
        self._pending = {m.path: m for m in needed if m.find(self._folders) is None}
        self._failed: dict[NeededModel, _Failure] = {}
        self._stop = Cancellation()
        self._queue: queue.SimpleQueue[NeededModel | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin. The folder is there afterwards, so that ComfyUI looks into it."""
        missing = list(self._pending.values())
        if not missing:
            log.info("all models are there")
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("models folder cannot be made", extra={"reason": str(error)})
        names = [str(model.path) for model in missing]
        log.info("models are missing", extra={"models": names, "folder": str(self._folder)})
        for model in missing:
            self._queue.put(model)
        for _ in range(min(_AT_ONCE, len(missing))):
            # Daemons: a fetch must not keep a process that is to end.
            thread = threading.Thread(target=self._work, name="fetch-model", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop; what has arrived is gone on with at the next start."""
        self._stop.cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(_LONGEST_STOP)
        with self._changed:
            for model in self._pending.values():
                self._failed[model] = _Failure("the worker is stopping", True, time.monotonic())
            self._pending.clear()
            self._changed.notify_all()

    def wait_for(self, names: Iterable[str], cancellation: Cancellation) -> None:
        """Return once those of the models are there that a graph names. Costs no time otherwise.

        The job's time stands still meanwhile: nobody works on it.

        Args:
            names: Values of the graph's inputs.
            cancellation: The job's.

        Raises:
            MissingModelError: One could not be fetched; the message says why.
            ServiceError: The job was cancelled.
        """
        if not self._pending and not self._failed:
            return
        wanted = set(names)
        self._try_again(wanted)
        take_back = cancellation.on_cancel(self._notify)
        try:
            with cancellation.paused(), self._changed:
                while any(model.file in wanted for model in self._pending.values()):
                    cancellation.check()
                    self._changed.wait()
        finally:
            take_back()
        with self._changed:
            failed = dict(self._failed)
        for model, failure in failed.items():
            if model.file in wanted and model.find(self._folders) is None:
                raise MissingModelError(
                    f"The model {model.path} is missing, and could not be fetched: "
                    f"{failure.problem}. Correct that, or put the file into a models folder.",
                    file=model.file,
                )

    def wait(self, names: Iterable[str], cancellation: Cancellation) -> None:
        """Return once those of the models are there, or could not be had."""
        try:
            self.wait_for(names, cancellation)
        except MissingModelError as error:
            log.warning("model is missing", extra={"error": error.message})

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _try_again(self, wanted: set[str]) -> None:
        """Have another go at what failed a while ago and may be had by now."""
        now = time.monotonic()
        with self._changed:
            for model, failure in list(self._failed.items()):
                due = failure.passing and now - failure.at > _TRY_AGAIN_AFTER
                if model.file in wanted and due:
                    del self._failed[model]
                    self._pending[model.path] = model
                    self._queue.put(model)

    def _work(self) -> None:
        while (model := self._queue.get()) is not None and not self._stop.cancelled:
            self._bring(model, TimeLimit(self._settings.models_fetch_timeout, self._stop))

    def _bring(self, model: NeededModel, limit: TimeLimit) -> None:
        failure: _Failure | None = None
        started = time.monotonic()
        try:
            how = self._obtain(model, limit)
        except ModelFetchError as error:
            failure = _Failure(str(error), error.passing, time.monotonic())
        except TimeoutError:
            problem = (
                f"it did not arrive within {limit.seconds:g} s (MODELS_FETCH_TIMEOUT_SECONDS); "
                "what has arrived is kept"
            )
            failure = _Failure(problem, passing=True, at=time.monotonic())
        except ServiceError as error:  # the process is to end
            failure = _Failure(error.message, passing=True, at=time.monotonic())
        except OSError as error:
            reason = f"{self._folder} cannot be written to ({error.strerror or error})"
            failure = _Failure(reason, passing=False, at=time.monotonic())
        except Exception as error:
            log.exception("model could not be fetched", extra={"model": str(model.path)})
            failure = _Failure(type(error).__name__, passing=False, at=time.monotonic())
        if failure is None:
            seconds = round(time.monotonic() - started, 1)
            log.info("model is there", extra={"model": str(model.path), "seconds": seconds} | how)
        else:
            details = {"model": str(model.path), "reason": failure.problem}
            log.error("model could not be fetched", extra=details)
        with self._changed:
            self._pending.pop(model.path, None)
            if failure is not None:
                self._failed[model] = failure
            self._changed.notify_all()

    def _obtain(self, model: NeededModel, limit: TimeLimit) -> dict[str, str]:
        """Fetch a file, or wait until another worker has.

        Returns:
            Where it came from, for the log.
        """
        if not model.addresses:
            raise ModelFetchError(
                f"no entry of {self._settings.models_list.name} says where it is published: add "
                "one, or set MODELS_LIST to a list that has it"
            )
        target = self._folder / model.path
        waited = False
        while model.find(self._folders) is None:
            with only_fetch(target) as alone:
                # Another worker may have ended between the look and the lock.
                if alone and model.find(self._folders) is None:
                    return self._fetch(model, target, limit)
            if not waited:
                log.info("another worker fetches a model", extra={"model": str(model.path)})
                waited = True
            limit.pause(_LOOK_AGAIN)
        return {"from": "another worker"}

    def _fetch(self, model: NeededModel, target: Path, limit: TimeLimit) -> dict[str, str]:
        if target.is_symlink():
            target.unlink()  # the cache that it led to is gone
        for address in model.addresses:
            cached = cached_file(self._settings.hub_cache_dir, address)
            if cached is not None and _is_sound(cached, model):
                target.symlink_to(cached)
                return {"from": str(cached)}
        failure: ModelFetchError | None = None
        for address in model.addresses:
            log.info("model is fetched", extra={"model": str(model.path), "from": _shown(address)})
            try:
                self._fetch_from(address, model, target, limit)
            except ModelFetchError as error:
                failure = error
            else:
                return {"from": _shown(address)}
        raise failure or ModelFetchError("it has no address")

    def _fetch_from(self, address: str, model: NeededModel, target: Path, limit: TimeLimit) -> None:
        part = PartFile(target)
        stated = None
        if address.startswith(SCHEME):
            self._objects.fetch(address, part, limit)
        else:
            stated = self._web.fetch(address, part, limit)
        place_checked(part, target, model.sha256 or stated)


def bytes_so_far(settings: Settings, folder: str, file: str) -> int | None:
    """Return how much of a model has arrived, whichever worker fetches it; ``None`` for none."""
    if settings.fetch_models == "off":
        return None
    sizes = (PartFile(settings.fetch_dir / same / file).size for same in same_folders(folder))
    return max(sizes) or None


def place_checked(part: PartFile, target: Path, sha256: str | None) -> None:
    """Give a file that has arrived its name, if it is a model and has its checksum.

    Raises:
        ModelFetchError: It is none, or another one; it is removed.
    """
    try:
        check_model_file(part.path, target.name)
    except NotAModelError as error:
        part.discard()
        raise ModelFetchError(
            f"what its address sent is no model: {error}; if the host wants a login, set its token"
        ) from error
    actual = part.digest() if sha256 is not None else None
    if actual != sha256:
        part.discard()
        raise ModelFetchError(
            f"what its address sent has sha256 {actual}, and {sha256} was expected: the host has "
            "another file now; compare with the model's page before you change its checksum"
        )
    part.keep_as(target)


def tokens(settings: Settings) -> dict[str, str]:
    """Return the token of each host that the settings have one for."""
    known = {"huggingface.co": settings.hf_token, "civitai.com": settings.civitai_token}
    return {host: token.get_secret_value() for host, token in known.items() if token is not None}


def _is_sound(path: Path, model: NeededModel) -> bool:
    try:
        check_model_file(path, model.path.name)
    except (NotAModelError, OSError) as error:
        log.warning("cached model is left", extra={"path": str(path), "reason": str(error)})
        return False
    # The cache calls what it has by their SHA-256, and links to that.
    digest = path.resolve().name
    return model.sha256 is None or not _SHA256.fullmatch(digest) or digest == model.sha256


def _shown(address: str) -> str:
    return address.partition("?")[0]
