"""Tell whether an address answers, and whether the answer mentions a text: the exit status."""

from __future__ import annotations

import http.client
import sys
import urllib.request

TIMEOUT = 5.0  # seconds


def reachable(address: str, text: str = "") -> bool:
    """Whether an http(s) address answers with success and ``text`` within the time limit.

    Proxies of the environment are used, as pip and git use them.
    """
    if not address.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310  # see above
            return text.encode() in answer.read()
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(0 if reachable(*sys.argv[1:3]) else 1)
