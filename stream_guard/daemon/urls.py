"""Which URLs may be pulled from, pushed to and told. Everything that comes from outside passes `check_url` first.

A URL is read by our own strict grammar, so that no second reader (FFmpeg's) can see another host in it. What a check
before opening cannot see is left to others: to `gate.py` where redirects and playlists of an http(s) source lead, to
`dialing.py` names whose answer changes between the check and the connection.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import unquote, unquote_to_bytes

from ..errors import ConfigError
from ..media.live import file_path as file_path  # others take it from here, with the rest of the grammar
from .addresses import Resolver, check_host, parse_host
from .files import check_file
from .settings import Urls

Purpose = Literal["source", "output", "webhook"]

LONGEST = 4096
"""Characters of a URL."""

PROTOCOLS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "rtmp": (1935, ("rtmp", "tcp")),
    "rtmps": (443, ("rtmps", "tls", "tcp")),
    "rtsp": (554, ("rtsp", "rtp", "tcp", "udp")),
    "rtsps": (322, ("rtsps", "rtsp", "rtp", "srtp", "tls", "tcp", "udp")),
    "http": (80, ("http", "httpproxy", "tcp")),
    "https": (443, ("https", "httpproxy", "tls", "tcp")),
    "udp": (0, ("udp",)),
    "srt": (0, ("srt",)),
}
"""Scheme: its usual port (0: the URL must have one) and all FFmpeg protocols that opening it needs."""

PLAYLIST = ("http", "https", "httpproxy", "tls", "tcp", "crypto")
"""An HLS source: `crypto` decrypts its segments, which FFmpeg reads as `crypto+https:`."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9]*)://"
    r"((?P<user>[A-Za-z0-9._~!$&'()*+,;=%:-]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]*\]|[^\[\]/?#@:]*)"
    r"(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?\Z"
)
_REFUSED = re.compile(r"[^!-~]|[\\<>\"`^{|}]")
"""Control characters, spaces, everything outside ASCII, and what other readers take for something else."""
_LISTENS = re.compile(r"(^|[&?])(listen(=|&|\Z)|mode=(listener|rendezvous))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL that passed. `url` and `path` may hold a stream key and are never printed."""

    url: str = field(repr=False)
    """To be opened: as it came, or `file:` and the real path."""
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    """What the host resolved to; each was checked. Empty for files."""
    path: str = field(repr=False)
    """For files the real path, without `file:`; for others the path as it came."""
    protocols: tuple[str, ...]

    @property
    def protocol_whitelist(self) -> str:
        """The value of FFmpeg's option of this name with which the URL must be opened."""
        return ",".join(self.protocols)


def check_url(url: str, urls: Urls, purpose: Purpose, resolve: Resolver = socket.getaddrinfo) -> CheckedUrl:
    """`url` if the settings allow it as `purpose`; a path without scheme is a file. May block for a DNS answer.

    Raises ConfigError, without user names, paths and queries: they may hold secrets.
    """
    if purpose != "webhook" and is_file(url):
        try:
            real = check_file(file_path(url), urls.file_roots, "read" if purpose == "source" else "write")
        except ConfigError as exc:
            raise ConfigError(f"the {purpose}: {exc}") from None
        return CheckedUrl(f"file:{real}", "file", "", 0, (), real, ("file",))
    parts = _parts(url, purpose)
    scheme = parts["scheme"].lower()
    _check_scheme(scheme, urls, purpose)
    host, port = parse_host(parts["host"]), int(parts["port"] or PROTOCOLS[scheme][0])
    if not 1 <= port <= 65535:
        raise ConfigError(f"the {purpose} URL needs a port from 1 to 65535, as in {scheme}://HOST:PORT")
    path = parts["path"] or "/"
    _check_path(path, urls, purpose)
    if _LISTENS.search(unquote(parts["query"])):
        raise ConfigError(f"the {purpose} URL asks to listen; we only connect: let a media server listen")
    addresses = check_host(host, port, urls.hosts, resolve)
    return CheckedUrl(url, scheme, str(host), port, addresses, path, _protocols(scheme, path, purpose))


def at_address(url: str, address: str) -> str:
    """A URL that passed, with `address` in the place of its host's name."""
    found = _URL.match(url)
    if found is None:
        raise ValueError("not a URL that passed")
    return f"{url[: found.start('host')]}{f'[{address}]' if ':' in address else address}{url[found.end('host') :]}"


def is_file(url: str) -> bool:
    """Whether `check_url` takes it for a file."""
    return url.startswith("/") or url[:5].lower() == "file:"


def check_scheme(scheme: str) -> None:
    """Raises ConfigError for an entry of `urls.schemes` that can never be opened."""
    if scheme not in PROTOCOLS:
        raise ConfigError(
            f"urls.schemes: {scheme[:16]!r} is none that can be opened; allowed, in small letters: "
            f"{', '.join(PROTOCOLS)} (files are allowed by urls.file_roots)"
        )


def _parts(url: str, purpose: Purpose) -> dict[str, str]:
    match = None if len(url) > LONGEST or _REFUSED.search(url) else _URL.match(url)
    if match is None:
        raise ConfigError(
            f"the {purpose} URL cannot be read: write SCHEME://HOST[:PORT]/PATH in ASCII, at most {LONGEST} "
            "characters, without spaces, backslashes or '#'; percent-encode other characters"
        )
    return match.groupdict("")


def _check_scheme(scheme: str, urls: Urls, purpose: Purpose) -> None:
    possible = set(PROTOCOLS) & set(urls.schemes) & ({"http", "https"} if purpose == "webhook" else set(PROTOCOLS))
    if scheme not in possible:
        allowed = ", ".join(sorted(possible)) or "none"
        raise ConfigError(f"the {purpose} URL's scheme {scheme[:16]!r} is not allowed; allowed: {allowed}")


def _check_path(path: str, urls: Urls, purpose: Purpose) -> None:
    plain = unquote_to_bytes(path).decode("utf-8", "replace")
    if any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in plain) or ".." in re.split("/", plain):
        raise ConfigError(f"the {purpose} URL's path may hold no '..', backslash or control character, encoded or not")
    if urls.paths and not any(fnmatchcase(plain, pattern) for pattern in urls.paths):
        raise ConfigError(f"the {purpose} URL's path is not allowed by urls.paths: {', '.join(urls.paths)}")


def _protocols(scheme: str, path: str, purpose: Purpose) -> tuple[str, ...]:
    if purpose == "source" and scheme in ("http", "https") and path.lower().endswith((".m3u8", ".m3u")):
        return PLAYLIST if scheme == "http" else tuple(p for p in PLAYLIST if p != "http")
    return PROTOCOLS[scheme][1]
