"""Which hosts may be connected to: names, patterns and networks of the settings against the addresses behind a name."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[..., Iterable[Any]]
"""Called as `resolve(host, port, type=SOCK_STREAM)`; answers as `socket.getaddrinfo` does."""

NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # connects to the machine itself
        "169.254.0.0/16",  # link-local: the metadata service of most clouds, credentials of ECS tasks
        "100.100.100.200/32",  # metadata, Alibaba
        "168.63.129.16/32",  # the host agent, Azure: an address of the public range
        "192.0.0.192/32",  # metadata, Oracle
        "255.255.255.255/32",
        "::/128",
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # metadata, AWS
        "fd20:ce::/32",  # metadata, Google
        "fd00:42::42/128",  # metadata, Scaleway
    )
)
"""Refused even inside an allowed network, unless the very address is named."""

_CARRIERS = tuple(ipaddress.IPv6Network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))
"""IPv6 networks whose last 32 bits are an IPv4 address: compatible, and the two of NAT64."""

_GIVEN = (ipaddress.IPv6Network("2000::/3"), ipaddress.IPv6Network("64:ff9b::/96"))

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")


@dataclass(frozen=True, slots=True)
class _Allowed:
    """One entry of `urls.hosts`: a network, or a name or pattern; `port` None is any."""

    network: Network | None
    name: str
    port: int | None


def parse_host(text: str) -> Address | str:
    """The host of a URL: an address, or a name in lower case. Raises ConfigError for every other spelling.

    `[::1]` is IPv6. Numbers that are not four plain decimals are refused: `127.1`, `0x7f000001`, `017700000001`.
    """
    if text.startswith("[") and text.endswith("]"):
        try:
            return ipaddress.IPv6Address(text[1:-1]) if "%" not in text else _refuse_host()
        except ValueError:
            _refuse_host()
    name = text.lower()
    if _NUMBER.match(name.rpartition(".")[2]):
        try:
            return ipaddress.IPv4Address(name)
        except ValueError:
            _refuse_host()
    return name if _NAME.match(name) else _refuse_host()


def _refuse_host() -> Any:
    raise ConfigError(
        "the URL's host is not a plain one: write a name in ASCII (punycode), four decimal numbers (192.0.2.1) or an "
        "IPv6 address in brackets, without zone, percent signs or a dot at the end"
    )


def check_host(
    host: Address | str, port: int, allowed: Iterable[str], resolve: Resolver = socket.getaddrinfo
) -> tuple[str, ...]:
    """The addresses behind `host`, each of which may be connected to under `allowed` (`Urls.hosts`).

    A name that is listed in full may be private or loopback; one that only matches a pattern must be public or in a
    listed network. Raises ConfigError for what is not allowed and for names without an address.
    """
    entries = [entry for entry in map(parse_allowed, allowed) if entry.port in (None, port)]
    everything = not tuple(allowed)
    addresses = (host,) if not isinstance(host, str) else _resolved(host, port, resolve)
    full = is_named(host, port, allowed)
    by_pattern = isinstance(host, str) and any(e.network is None and fnmatchcase(host, e.name) for e in entries)
    networks = [e.network for e in entries if e.network is not None]
    for address in addresses:
        for one in _meanings(address):
            _check_address(host, one, full, everything or by_pattern or full, networks)
    return tuple(str(address) for address in addresses)


def is_named(host: Address | str, port: int, allowed: Iterable[str]) -> bool:
    """Whether `allowed` lists this very name: whoever wrote that trusts where it leads."""
    entries = (entry for entry in map(parse_allowed, allowed) if entry.port in (None, port))
    return isinstance(host, str) and any(e.network is None and e.name == host for e in entries)


def parse_allowed(text: str) -> _Allowed:
    """One entry of `urls.hosts`: `name`, `*.name`, address or network, each with `:port` if wished.

    Raises ConfigError for what is none of these.
    """
    entry, port = text.strip().lower(), None
    with_port = re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", entry)
    if with_port:
        entry, port = with_port[1], int(with_port[2])
        if not 1 <= port <= 65535:
            raise ConfigError(f"urls.hosts: {text!r} has the port {port}; a port is a number from 1 to 65535")
    if entry.startswith("[") and entry.endswith("]"):
        entry = entry[1:-1]
    try:
        return _Allowed(ipaddress.ip_network(entry, strict=False), "", port)
    except ValueError:
        if not _NAME.match(entry.replace("*", "x")) or _NUMBER.match(entry.rpartition(".")[2]):
            raise ConfigError(
                f"urls.hosts: {text!r} is neither a name (cam.example.org), a pattern (*.example.org) nor an address "
                "or network (10.0.0.0/8)"
            ) from None
        return _Allowed(None, entry, port)


def _resolved(name: str, port: int, resolve: Resolver) -> tuple[Address, ...]:
    try:
        answers = list(resolve(name, port, type=socket.SOCK_STREAM))
        found = [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    except (OSError, ValueError) as exc:
        raise ConfigError(f"the host {name!r} has no address: {getattr(exc, 'strerror', None) or exc}") from None
    if not found:
        raise ConfigError(f"the host {name!r} has no address")
    return tuple(dict.fromkeys(found))


def _meanings(address: Address) -> Iterator[Address]:
    """The address and the IPv4 addresses that it stands for (NAT64, 6to4, Teredo); a mapped one is IPv4 only."""
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is None:
        yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if any(address in carrier for carrier in _CARRIERS) and int(address) > 1:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _check_address(host: Address | str, one: Address, full: bool, public_ok: bool, networks: list[Network]) -> None:
    inside = [network for network in networks if one.version == network.version and one in network]
    if any(network.num_addresses == 1 for network in inside):
        return
    shown = f"the host {str(host)!r}" if str(host) == str(one) else f"the host {str(host)!r} ({one})"
    if any(one.version == network.version and one in network for network in NEVER):
        raise ConfigError(
            f"{shown} is a link-local, metadata or unspecified address; it is refused unless that very address is "
            "listed in urls.hosts"
        )
    if inside:
        return
    if not _public(one) and not full:
        raise ConfigError(f"{shown} is not a public address; list the host or its network in urls.hosts to allow it")
    if not public_ok:
        raise ConfigError(f"{shown} is not allowed by urls.hosts")


def _public(one: Address) -> bool:
    """Global unicast by today's allocations: of IPv6 that is 2000::/3, and the prefix of NAT64."""
    given = one.version == 4 or any(one in network for network in _GIVEN)
    return given and one.is_global and not one.is_multicast
