"""Webhook signatures: `X-Stream-Guard-Signature: t=<unix seconds>,v1=<HMAC-SHA256 of "t.body" in hex>`.

Receivers may copy this file: it needs the standard library only.
"""

from __future__ import annotations

import hashlib
import hmac
import time

HEADER = "X-Stream-Guard-Signature"
TOLERANCE_SECONDS = 300


def sign(body: bytes, secret: str, now: float | None = None) -> str:
    """The header's value for this body, sent now."""
    stamp = int(time.time() if now is None else now)
    return f"t={stamp},v1={_digest(body, secret, str(stamp))}"


def verify(
    header: str, body: bytes, secret: str, *, tolerance_seconds: float = TOLERANCE_SECONDS, now: float | None = None
) -> bool:
    """Whether `body`, byte for byte as received, was signed with `secret` not longer ago than the tolerance.

    Compares in constant time. An empty secret verifies nothing.
    """
    fields = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in fields if name == "t"]
    signatures = [value for name, _, value in fields if name == "v1"]
    if not secret or len(stamps) != 1 or not (stamps[0].isascii() and stamps[0].isdigit() and len(stamps[0]) < 15):
        return False
    expected = _digest(body, secret, stamps[0]).encode()
    matches = [hmac.compare_digest(expected, one.encode("utf-8", "replace")) for one in signatures]
    age = (time.time() if now is None else now) - int(stamps[0])
    return any(matches) and abs(age) <= tolerance_seconds


def _digest(body: bytes, secret: str, stamp: str) -> str:
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
