"""A build backend without requirements, for a distribution ``tool`` of one module."""

from __future__ import annotations

import zipfile
from pathlib import Path

INFORMATION = "tool-1.0.dist-info"


def build_wheel(
    wheel_directory: str, config_settings: object = None, metadata_directory: object = None
) -> str:
    name = "tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        wheel.write("tool.py")
        wheel.writestr(
            f"{INFORMATION}/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{INFORMATION}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{INFORMATION}/RECORD", "")
    return name


build_editable = build_wheel
