"""Turn a snapshot of ComfyUI-Manager, or a ``comfy-lock.yaml``, into lines of ``node_packs.txt``.

Both have ``git_custom_nodes`` (address, commit, whether disabled), ``cnr_custom_nodes`` (id in
ComfyUI's registry, version) and ``file_custom_nodes``; a ``comfy-lock.yaml`` has them under
``custom_nodes``. Versions of Python packages are not taken: ``constraints.txt`` has them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMIT = re.compile(r"[0-9a-f]{40}")
VERSION = re.compile(r"\d[\w.+-]*")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*")
_ADDRESS = re.compile(
    r"(?:https?://|ssh://|git://)?(?:[^@/\s]+@)?([\w.-]+)(?::\d+/|[:/])([\w.~/-]+?)(?:\.git)?/?"
)
_LINE = re.compile(r"(?P<groups>\S+)(?P<space>\s+)(?P<source>\S+)\s+(?P<pin>\S+)")
# The environment that it manages is this script's here.
_MANAGER = "comfyui-manager"


class SnapshotError(Exception):
    """The file is no snapshot; the message says what it should be."""


@dataclass(frozen=True)
class Pack:
    """A pack of a snapshot.

    Attributes:
        source: ``OWNER/REPOSITORY`` on GitHub, another host's https address, or ``registry:ID``.
        pin: Its commit, or its version in the registry.
    """

    source: str
    pin: str

    @property
    def folder(self) -> str:
        """The folder in ``custom_nodes``, in lower case: two packs cannot share one."""
        return re.split("[/:]", self.source)[-1].lower()


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot says of node packs.

    Attributes:
        packs: Enabled packs that can be pinned.
        unpinned: A sentence for each of the others: why not, and what to do.
        comfyui: ComfyUI's commit; empty where it is not said.
    """

    packs: tuple[Pack, ...]
    unpinned: tuple[str, ...]
    comfyui: str


def read_snapshot(file: Path) -> Snapshot:
    """Read a snapshot, as JSON or YAML.

    Raises:
        SnapshotError: The file is neither, or says nothing of node packs.
    """
    data = _load(file)
    # comfy-cli writes ComfyUI-Manager's own format below a key.
    data = _mapping(data.get("custom_nodes")) or data
    if not data.keys() & {"git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes"}:
        raise SnapshotError(
            f"{file.name} is neither a snapshot of ComfyUI-Manager nor a comfy-lock.yaml: it has"
            " no git_custom_nodes, cnr_custom_nodes or file_custom_nodes."
        )
    packs: list[Pack] = []
    unpinned: list[str] = []
    for address, said in _mapping(data.get("git_custom_nodes")).items():
        entry = _mapping(said)
        if _is_true(entry.get("disabled")):
            continue
        source = _source(address)
        commit = str(entry.get("hash") or "").lower()
        if source is None:
            unpinned.append(f"{address}: it is no address of a repository; add its line by hand.")
        elif not COMMIT.fullmatch(commit):
            unpinned.append(
                f"{source}: the snapshot has no commit; look one up at its repository and add the"
                " line by hand."
            )
        else:
            packs.append(Pack(source, commit))
    for name, version in _mapping(data.get("cnr_custom_nodes")).items():
        if not _ID.fullmatch(name) or not VERSION.fullmatch(str(version)):
            unpinned.append(
                f"registry:{name}: {version} is no version; choose one at"
                f" https://registry.comfy.org/nodes/{name} and add the line by hand."
            )
        else:
            packs.append(Pack(f"registry:{name}", str(version)))
    unpinned += [
        f"{name}: a single file has no repository; copy it to custom_nodes/ yourself."
        for name in _enabled_files(data.get("file_custom_nodes"))
    ]
    return Snapshot(
        tuple(pack for pack in packs if pack.folder != _MANAGER),
        tuple(text for text in unpinned if _MANAGER not in text.lower()),
        str(data.get("comfyui") or ""),
    )


def merge(text: str, group: str, packs: tuple[Pack, ...]) -> tuple[str, list[str]]:
    """Add packs to the text of ``node_packs.txt``.

    A pack that is listed stays as it is pinned there, and gets the group.

    Returns:
        The new text, and a remark on each pack.
    """
    lines = text.splitlines()
    listed = {
        Pack(match["source"], match["pin"]).folder.removesuffix(".git"): (number, match)
        for number, line in enumerate(lines)
        if not line.startswith("#") and (match := _LINE.match(line))
    }
    remarks: list[str] = []
    for pack in packs:
        if pack.folder not in listed:
            lines.append(f"{group}  {pack.source}  {pack.pin}")
            remarks.append(f"{pack.source} {pack.pin}: added")
            continue
        number, match = listed[pack.folder]
        groups = match["groups"].split(",")
        if group not in groups:
            lines[number] = f"{match['groups']},{group}{lines[number][match.end('groups') :]}"
        kept = f"{match['source']} {match['pin']}"
        same = match["pin"] == pack.pin
        remarks.append(
            f"{kept}: listed"
            if same
            else f"{kept}: listed, and kept; the snapshot has {pack.source} {pack.pin}"
        )
    return "".join(f"{line}\n" for line in lines), remarks


def _load(file: Path) -> dict[str, Any]:
    text = file.read_text("utf-8-sig")
    try:
        found = json.loads(text)
    except ValueError:
        found = _load_yaml(file.name, text)
    if not isinstance(found, dict):
        raise SnapshotError(f"{file.name} is neither JSON nor YAML of a snapshot's form.")
    return found


def _load_yaml(name: str, text: str) -> object:
    try:
        import yaml
    except ImportError as error:
        raise SnapshotError(
            f"{name} is not JSON, and to read YAML this Python needs PyYAML: install it, or save"
            " the snapshot as JSON."
        ) from error
    try:
        # Everything as text: a version such as 1.10 is no number.
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # makes texts, lists, mappings
    except yaml.YAMLError as error:
        raise SnapshotError(f"{name} is neither JSON nor YAML: {error}") from error


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def _source(address: str) -> str | None:
    match = _ADDRESS.fullmatch(address.strip())
    if not match:
        return None
    host, path = match[1].lower(), match[2].strip("/")
    if host in {"github.com", "www.github.com"}:
        return path if path.count("/") == 1 else None
    return f"https://{host}/{path}"


def _enabled_files(value: object) -> list[str]:
    files = value if isinstance(value, list) else list(_mapping(value).values())
    return [
        str(one["filename"])
        for one in files
        if isinstance(one, dict) and one.get("filename") and not _is_true(one.get("disabled"))
    ]


def _release_of(commit: str, releases: Path) -> str:
    """Return the release of ComfyUI that a commit is; empty if it is none of those listed."""
    lines = releases.read_text("utf-8").splitlines() if releases.exists() else []
    return next((line.split()[0] for line in lines if commit in line.split()[1:2]), "")


def main(arguments: list[str]) -> int:
    """Run from ``provision.sh``; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True, help="node_packs.txt, which is changed")
    parser.add_argument("--group", required=True, help="of the lines")
    parser.add_argument("--releases", type=Path, required=True, help="comfyui_releases.txt")
    parser.add_argument("snapshot", type=Path)
    options = parser.parse_args(arguments)
    try:
        snapshot = read_snapshot(options.snapshot)
        old = options.list.read_text("utf-8") if options.list.exists() else ""
        new, remarks = merge(old, options.group, snapshot.packs)
        if new != old:
            options.list.write_text(new, "utf-8")
    except (SnapshotError, OSError, UnicodeDecodeError) as error:
        print(f"provision.sh: {error}", file=sys.stderr)
        return 1
    remarks += [f"not added: {text}" for text in snapshot.unpinned]
    if snapshot.comfyui:
        release = _release_of(snapshot.comfyui, options.releases)
        takes = f": --comfyui {release} takes it" if release else ", which is none of the releases"
        remarks.append(f"the snapshot's ComfyUI is at {snapshot.comfyui}{takes}")
    print("".join(f"    {remark}\n" for remark in remarks), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
