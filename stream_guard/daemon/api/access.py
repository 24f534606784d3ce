"""Who may do what: bearer tokens with the roles read and write, and the rules that stand in for them on loopback."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import ssl
from urllib.parse import urlsplit

from ...errors import ConfigError
from ..settings import Http, Tls, Token
from . import page

OPEN = frozenset({"/livez", *page.FILES})
"""What needs no token: the liveness probe, and the page, which shows nothing without one."""
HOOKS = "/hooks/"
"""Media servers call these: they check their own secrets and send forms."""
EVENTS = "/v1/events"
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses, IPv6 with or without brackets."""
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def check_certificate(tls: Tls) -> None:
    """Raises ConfigError where the certificate and its key cannot be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as exc:  # a ValueError for a path that no file can have, with a NUL in it
        raise ConfigError(
            f"http.tls: the certificate {tls.certificate!r} with the key {tls.key!r} cannot be used: {exc}"
        ) from exc


def check_listening(http: Http) -> None:
    """Raises ConfigError where anybody on the network could reach an API without tokens."""
    if not http.tokens and not is_loopback(http.address):
        raise ConfigError(
            f"http.address is {http.address} and there is no http.tokens: anybody on the network could start streams. "
            "Listen on 127.0.0.1, or add a token (its sha256: printf %s TOKEN | sha256sum)"
        )


def bearer(tokens: tuple[Token, ...], authorization: str) -> Token | None:
    """The token that the header `Authorization: Bearer ...` names. Takes equally long for every one and for none."""
    scheme, _, given = authorization.partition(" ")
    sent = given.strip(" \t").encode("latin-1", "replace")  # the header's own bytes: it was decoded so
    digest = hashlib.sha256(sent).hexdigest()
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, digest):
            found = token
    return found if scheme.lower() == "bearer" else None


def may(role: str, method: str) -> bool:
    return role == "write" or method in READING


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port; None where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_foreign(origin: str, host: str) -> bool:
    """True where a browser says that a page of another site asks. The scheme is not compared: a proxy may end TLS."""
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True
