"""What RunPod's Hub looks for in a repository. The image starts `python -m handler runpod`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # This file has the package's name: the project's folder takes the place of this one.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from handler.cli import main

    sys.exit(main(["runpod", *sys.argv[1:]]))
