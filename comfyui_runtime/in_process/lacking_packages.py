"""Which Python packages a node pack that does not load needs and lacks."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_MODULE = re.compile(r"No module named '([^'.]+)")
_COMMENT = re.compile(r"(^|\s)#.*")
# Where the module's name says nothing of the package's.
_PACKAGES_OF_MODULES = {
    "cv2": ("opencv",),
    "PIL": ("pillow",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "yaml": ("pyyaml",),
    "git": ("gitpython",),
    "fitz": ("pymupdf",),
    "dotenv": ("python-dotenv",),
    "google": ("google",),
}


def lacking_packages(pack: Path, error: str) -> str:
    """Return sentences, each after a space, that name what a pack lacks; empty where it is nothing.

    Args:
        pack: The pack's folder or file.
        error: Why it does not load.
    """
    listed = list(_requirements(pack))
    lacking = [text for text, requirement in listed if not _is_installed(requirement)]
    sentences = []
    module = _NO_MODULE.search(error)
    if module is not None:
        name = module.group(1)
        line = next((text for text, one in listed if _provides(one, name)), None)
        said = "which its requirements.txt does not list" if line is None else f'listed as "{line}"'
        sentences.append(f' It imports the package "{name}", {said}.')
    if lacking:
        sentences.append(
            f" Of its requirements.txt these are not installed: {', '.join(lacking)}. "
            f"Install them: pip install -r {pack.name}/requirements.txt."
        )
    return "".join(sentences)


def _requirements(pack: Path) -> Iterator[tuple[str, Requirement]]:
    """Yield the lines of a pack's requirements.txt that name packages and apply here."""
    path = pack / "requirements.txt"
    if not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        text = _COMMENT.sub("", line).strip()
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # an option, an address without a name, or nothing
        if requirement.marker is None or requirement.marker.evaluate():
            yield text, requirement


def _is_installed(requirement: Requirement) -> bool:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _provides(requirement: Requirement, module: str) -> bool:
    package = canonicalize_name(requirement.name)
    names = (*_PACKAGES_OF_MODULES.get(module, ()), canonicalize_name(module))
    return any(package == name or package.startswith(f"{name}-") for name in names)
