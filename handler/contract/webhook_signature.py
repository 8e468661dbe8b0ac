"""Signatures of webhooks, by Standard Webhooks (https://www.standardwebhooks.com), version 1."""

from __future__ import annotations

import base64
import binascii
import hmac

_PREFIX = "whsec_"
# Bounds of the specification, in bytes.
_SHORTEST_KEY = 24
_LONGEST_KEY = 64


def keys_of(secret: str) -> tuple[bytes, ...]:
    """Return the keys of a secret: one, or several while receivers change to a new one.

    Args:
        secret: ``whsec_`` and base64 of 24 to 64 bytes; several with white space between.

    Raises:
        ValueError: It is not of that form. The text does not repeat it.
    """
    keys = tuple(_key(part) for part in secret.split())
    if not keys:
        raise ValueError("give whsec_ and the base64 of 24 to 64 random bytes")
    return keys


def signature_headers(
    keys: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the headers that let a receiver verify a message.

    Args:
        keys: Each signs: the receiver knows one of them.
        message_id: The same at every attempt, so that a receiver can tell a repeated message.
        timestamp: Seconds since the epoch, of this attempt.
        body: What is sent.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(part: str) -> bytes:
    try:
        key = base64.b64decode(part.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise ValueError(
            f"the key has {len(key)} bytes; Standard Webhooks asks for {_SHORTEST_KEY} to "
            f"{_LONGEST_KEY}"
        )
    return key
