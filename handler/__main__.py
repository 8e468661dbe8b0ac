"""``python -m handler``."""

from __future__ import annotations

from handler.cli import main
from handler.process_end import leave

if __name__ == "__main__":
    leave(main())
