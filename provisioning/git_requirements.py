"""Requirements that name a git repository: ``git+https://…``, with a name before it or without.

``provision.sh`` fetches the repositories as it fetches node packs: from the same mirror, and in the
stage of the image that has git. What is installed is the fetched folder.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from provisioning.pack_requirements import canonical, parse_pack

_REQUIREMENT = re.compile(
    r"""
    (?: (?P<name> [A-Za-z0-9][\w.-]*) \s* (?P<extras> \[ [^]]* \])? \s* @ \s* )?
    git\+ (?P<address> https://[^/\s@\#]+/[^\s@\#]+)
    (?: @ (?P<ref> [^\s\#]+) )?
    (?: \# (?P<fragment> \S+) )?
    (?: \s+ ; \s* (?P<marker> .+) )?
    """,
    re.VERBOSE,
)


class GitRequirementError(Exception):
    """A requirement names a git repository in a way that is not taken."""


@dataclass(frozen=True)
class GitRequirement:
    """A requirement on what a git repository holds.

    Attributes:
        address: The repository's, over HTTPS.
        ref: A commit, tag or branch; ``HEAD`` where the requirement gives none.
        subdirectory: Where the distribution is in the repository; empty for its root.
        name: The distribution's name in canonical form, where the requirement gives one.
        extras: As ``[a,b]``; empty without any.
        marker: The condition on the environment; empty without one.
    """

    address: str
    ref: str
    subdirectory: str
    name: str
    extras: str
    marker: str

    @property
    def repository(self) -> str:
        """The repository's name."""
        return self.address.rstrip("/").rpartition("/")[2].removesuffix(".git")

    @property
    def names(self) -> frozenset[str]:
        """The names that ``without=`` may use for it, in canonical form."""
        return frozenset({self.name, canonical(self.repository)} - {""})

    @property
    def folder(self) -> str:
        """The folder it is fetched into, of the same name as long as address and ref stay."""
        digest = hashlib.sha256(f"{self.address}@{self.ref}".encode()).hexdigest()
        return f"{self.repository}-{digest[:8]}"

    def installed_from(self, folder: Path) -> str:
        """Return the requirement on its fetched folder, in the format of requirements.txt."""
        place = (folder / self.folder / self.subdirectory).resolve()
        if not place.is_relative_to((folder / self.folder).resolve()):
            raise GitRequirementError(f"subdirectory {self.subdirectory} is outside its repository")
        named = f"{self.name}{self.extras} @ " if self.name else ""
        return f"{named}{place.as_uri()}{f' ; {self.marker}' if self.marker else ''}"


def parse_git_requirement(line: str) -> GitRequirement | None:
    """Read a line of a requirements file; ``None`` if it names no git repository.

    Raises:
        GitRequirementError: It names one, but not as ``git+https://HOST/PATH``.
    """
    if not re.match(r"(?:[\w.\[\],-]+\s*@\s*)?git(?:\+|@|://)", line):
        return None
    match = _REQUIREMENT.fullmatch(line)
    if not match:
        raise GitRequirementError(
            f"{line}: only git+https://HOST/PATH, without a login, is fetched from git"
        )
    fragment = parse_qs(match["fragment"] or "")
    egg = fragment.get("egg", [""])[0].partition("[")
    return GitRequirement(
        address=match["address"],
        ref=match["ref"] or "HEAD",
        subdirectory=fragment.get("subdirectory", [""])[0],
        name=canonical(match["name"] or egg[0]),
        extras=match["extras"] or f"{egg[1]}{egg[2]}",
        marker=match["marker"] or "",
    )


def main(arguments: list[str]) -> int:
    """Print a line ``FOLDER ADDRESS REF PACK`` for each repository that packs require."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--custom-nodes", type=Path, required=True, help="folder of the packs")
    parser.add_argument(
        "packs", nargs="*", help="folder names, with =A,B for requirements to leave out"
    )
    options = parser.parse_args(arguments)
    found: dict[str, str] = {}
    for pack in (parse_pack(text, options.custom_nodes) for text in options.packs):
        for line in pack.lines():
            try:
                requirement = parse_git_requirement(line)
            except GitRequirementError:
                continue  # node_requirements names it, and whether without= leaves it out
            if requirement and not requirement.names & pack.without:
                words = (requirement.folder, requirement.address, requirement.ref, pack.name)
                found.setdefault(requirement.folder, " ".join(words))
    print("".join(f"{line}\n" for line in found.values()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
