"""The machine that the measurements ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_PACKAGES = ("torch", "numpy", "pillow", "isal", "transformers", "requests", "websocket-client")


class Machine(BaseModel):
    """A machine at one moment.

    Attributes:
        load_average: Runnable processes over the last minute: with more than there are cores,
            compare ratios only.
        versions: Of Python, ComfyUI, and the packages that matter.
    """

    model_config = ConfigDict(frozen=True)

    processor: str
    cores: int
    memory_gib: float
    system: str
    load_average: float
    versions: dict[str, str]


def this_machine(comfyui_version: str) -> Machine:
    """Describe this machine."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=platform.platform(terse=True),
        load_average=round(os.getloadavg()[0], 2),
        versions={
            "python": platform.python_version(),
            "comfyui": comfyui_version,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor()
