"""Bring the models of ``models.txt`` to the models folder, and check every one.

A file that is already in one of the search folders (a mounted network volume) is used from there:
it is linked, neither fetched nor copied. A file gets its final name only once it is checked: that
it is a model, and that it has the checksum that its publisher states or ``models.lock`` keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from listed_models.lock_file import LockFileError, read_lock, record
from listed_models.model_file import NotAModelError, check_model_file
from listed_models.model_list import Model, ModelListError, parse_model_list
from provisioning.checksums import KnownChecksums
from provisioning.download import Download, DownloadError, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

FETCHED_SUFFIX = ".fetched"


class ModelsError(Exception):
    """Some models could not be brought in; each message says what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Store:
    """Where models belong, and where to look before fetching.

    Attributes:
        folder: The models folder that files are fetched to.
        search: Other models folders, laid out alike.
        lock: The file that keeps computed checksums.
        checksums: What is known of files on this machine.
    """

    folder: Path
    search: tuple[Path, ...]
    lock: Path
    checksums: KnownChecksums


def bring(models: list[Model], store: Store, tokens: dict[str, str]) -> None:
    """Make every model available in the models folder.

    Raises:
        ModelsError: With one line for each model that is not there now, or not what it should be.
        DownloadError: A host refused a token.
        LockFileError: The lock file is malformed.
    """
    problems: list[str] = []
    missing: list[Model] = []
    for model in models:
        found = _find(model, store)
        if found is None:
            missing.append(model)
            continue
        problem = _check(model, found, store)
        if problem:
            problems.append(f"{problem} {_advice(model, found, store)}")
        elif found.is_relative_to(store.folder):
            print(f"    {model.path}: present")
        else:
            _link(store.folder / model.path, found)
            print(f"    {model.path}: used from {found}")
    store.checksums.save()
    problems += _fetch(missing, store, tokens)
    if problems:
        raise ModelsError(problems)


def _find(model: Model, store: Store) -> Path | None:
    own = store.folder / model.path
    if own.is_symlink() and not own.exists():
        own.unlink()  # the volume it led to is gone
    if own.is_symlink():
        return own.resolve()
    candidates = [own, *(folder / model.path for folder in store.search)]
    return next((path for path in candidates if path.is_file()), None)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _fetch(models: list[Model], store: Store, tokens: dict[str, str]) -> list[str]:
    if not models:
        return []
    if shutil.which("aria2c") is None:
        raise DownloadError("aria2c is missing: install aria2 (apt-get or brew install aria2).")
    waiting = {
        Download(model.addresses, store.folder / model.path): model
        for model in models
        if not _fetched(store, model).exists()
    }
    for model in waiting.values():
        print(f"    {model.path}: fetching {model.addresses[0]}", flush=True)
    for download in fetch(list(waiting), tokens) if waiting else []:
        download.part.replace(_fetched(store, waiting[download]))
    return [problem for model in models if (problem := _accept(model, store))]


def _fetched(store: Store, model: Model) -> Path:
    own = store.folder / model.path
    return own.with_name(own.name + FETCHED_SUFFIX)


def _accept(model: Model, store: Store) -> str | None:
    """Check a fetched file and give it its name; return the problem if there is one."""
    fetched = _fetched(store, model)
    if not fetched.exists():
        return (
            f"{model.path} was not fetched from {' or '.join(model.addresses)}; aria2 says why"
            " above. Run this again to resume. A host that wants a login answers 401 or 403: set"
            " CIVITAI_TOKEN or HF_TOKEN."
        )
    compared = _expected(model, store) is not None
    problem = _check(model, fetched, store)
    if problem:
        fetched.unlink()
        return (
            f"{problem} It was deleted; run this again to fetch it anew. If that does not help, the"
            " host has another file now: compare with the model's page before you change its"
            f" checksum in models.txt or {store.lock.name}, or set the host's token if it sent a"
            " page instead."
        )
    store.checksums.move(fetched, store.folder / model.path)
    store.checksums.save()
    print(f"    {model.path}: {'fetched and verified' if compared else 'fetched'}", flush=True)
    return None


def _check(model: Model, path: Path, store: Store) -> str | None:
    """Check a file against its checksum, recording it where none is known yet."""
    try:
        check_model_file(path, model.path.name)
    except NotAModelError as error:
        return f"{model.path} is not a usable model file: {error}."
    expected = _expected(model, store)
    source = "models.txt" if model.sha256 else store.lock.name
    actual = store.checksums.of(path)
    if expected is None:
        record(store.lock, model.path, actual)
        print(f"    {model.path}: sha256 {actual}, recorded in {store.lock.name}")
    elif actual != expected:
        return f"{model.path} has sha256 {actual}, but {source} says {expected}."
    return None


def _expected(model: Model, store: Store) -> str | None:
    return model.sha256 or read_lock(store.lock).get(model.path)


def _advice(model: Model, path: Path, store: Store) -> str:
    text = f"Delete {path} to fetch it anew"
    if model.sha256:
        return f"{text}."
    return (
        f"{text}; if you replaced it on purpose, delete the line of {model.path} in"
        f" {store.lock.name}."
    )


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep out a second run: two of them would write to the same unfinished files."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(
                "another run is bringing models here; wait for it to end, then run this again."
            ) from error
        yield


def _tokens(lines: str) -> dict[str, str]:
    pairs = (line.split(maxsplit=1) for line in lines.splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) > 1}


def main(arguments: list[str], tokens: str) -> int:
    """Run from ``provision.sh``.

    Args:
        arguments: Command-line arguments.
        tokens: Lines of a host name and its token.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True, help="the list of models")
    parser.add_argument("--lock", type=Path, required=True, help="the file of checksums")
    parser.add_argument("--groups", nargs="*", default=[], help="which entries of the list")
    parser.add_argument("--models-dir", type=Path, required=True, help="ComfyUI's models folder")
    parser.add_argument("--search", type=Path, nargs="*", default=[], help="more models folders")
    parser.add_argument("--known", type=Path, required=True, help="checksums kept between runs")
    options = parser.parse_args(arguments)
    try:
        models = parse_model_list(options.list.read_text("utf-8"))
        store = Store(
            options.models_dir,
            tuple(folder for folder in options.search if folder != options.models_dir),
            options.lock,
            KnownChecksums(options.known),
        )
        wanted = [model for model in models if model.groups.intersection(options.groups)]
        with _alone(options.known.with_suffix(".lock")):
            bring(wanted, store, _tokens(tokens))
    except KeyboardInterrupt:
        return 130
    except (ModelListError, LockFileError, DownloadError, ModelsError, OSError) as error:
        for problem in str(error).splitlines():
            print(f"provision.sh: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.read()))
