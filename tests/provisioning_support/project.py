from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Project:
    """A copy of what provision.sh consists of, with lists of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> Path:
        return self.folder / ".comfyui" / "base" / "models"

    @property
    def custom_nodes(self) -> Path:
        return self.folder / ".comfyui" / "base" / "custom_nodes"

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.folder / "provision.sh"), *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **environment) as process:
            output, _ = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, output)
