"""How often a generated attack is tried: a short part by default, a long one when asked for."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("ABUSE_FACTOR", "1"))
"""``ABUSE_FACTOR=100`` is the long part; every count is multiplied by it."""
SEED = int(os.environ.get("ABUSE_SEED", "1"))
"""Another seed tries other pictures, addresses and requests."""
