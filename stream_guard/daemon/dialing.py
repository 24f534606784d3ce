"""What FFmpeg is given of a live stream's URLs, so that it connects to the very addresses that were checked.

A name is asked for at every connection, checked by `urls`, and where `urls.hosts` does not list it in full, FFmpeg gets
the address in its place: an answer that changes between the check and the connection leads nowhere. http, https and
rtmps go through a `Gate` instead, which keeps their names for virtual hosts and certificates.

rtsps keeps its name: FFmpeg takes neither a proxy nor a name for the certificate there. It is checked at every
connection, but FFmpeg asks for it once more.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from ..errors import ConfigError, MediaError, SinkError, SourceError
from ..media.live import Dial
from .addresses import Resolver, is_named
from .gate import Gate
from .redaction import redacted
from .settings import StreamSettings, Urls
from .urls import CheckedUrl, Purpose, at_address, check_url

THROUGH_GATE: Mapping[str, str] = {"http": "https", "https": "https", "rtmps": "rtmps"}
"""Scheme: that of the tunnels which its gate opens."""
BY_NAME = "rtsps"


@contextmanager
def dialing(settings: StreamSettings, urls: Urls, resolve: Resolver = socket.getaddrinfo) -> Iterator[Dialer]:
    """How the stream connects, with the gates that its source and outputs need."""
    for name in ("no_proxy", "NO_PROXY"):  # FFmpeg obeys it, and would go past the gates
        os.environ.pop(name, None)
    schemes = [_scheme(url) for url in (settings.source, *(output.url for output in settings.outputs))]
    tunnels = {THROUGH_GATE[scheme] for scheme in schemes if scheme in THROUGH_GATE}
    with ExitStack() as open_ones:
        gates = {tunnel: open_ones.enter_context(Gate(urls, resolve, tunnel)) for tunnel in sorted(tunnels)}
        yield Dialer(urls, {tunnel: gate.url for tunnel, gate in gates.items()}, resolve)


class Dialer:
    """Thread-safe as far as no two threads connect to the same URL. `gates`: the URL of each tunnel's gate."""

    def __init__(self, urls: Urls, gates: Mapping[str, str], resolve: Resolver = socket.getaddrinfo) -> None:
        self._urls, self._gates, self._resolve = urls, gates, resolve
        self._times: Counter[str] = Counter()

    @property
    def source(self) -> Dial:
        """Raises SourceError where the source may not be connected to."""
        return self._dial("source", lambda url, words: SourceError(f"cannot open the live source {url}: {words}"))

    @property
    def output(self) -> Dial:
        """Raises SinkError where the output may not be connected to."""
        return self._dial("output", lambda url, words: SinkError(words))

    def _dial(self, purpose: Purpose, refusal: Callable[[str, str], MediaError]) -> Dial:
        def dial(url: str, options: Mapping[str, str]) -> tuple[str, dict[str, str]]:
            if (scheme := _scheme(url)) in THROUGH_GATE:
                return url, {**options, "http_proxy": self._gates[THROUGH_GATE[scheme]]}
            try:
                checked = check_url(url, self._urls, purpose, self._resolve)
            except ConfigError as exc:
                raise refusal(redacted(url), str(exc)) from None
            return self._pinned(checked, options)

        return dial

    def _pinned(self, checked: CheckedUrl, options: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """With the next of its addresses: FFmpeg, which has one only, does not try the others itself."""
        named = is_named(checked.host, checked.port, self._urls.hosts)
        if checked.scheme == BY_NAME or checked.host in checked.addresses or named:
            return checked.url, dict(options)
        address = checked.addresses[self._times[checked.url] % len(checked.addresses)]
        self._times[checked.url] += 1
        kept = {"rtmp_tcurl": _target(checked)} if checked.scheme == "rtmp" else {}
        return at_address(checked.url, address), {**options, **kept}


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _target(checked: CheckedUrl) -> str:
    """What RTMP says of the place that it connects to, with the name: servers choose virtual hosts by it."""
    return f"rtmp://{checked.host}:{checked.port}/{application(checked.url.partition('://')[2].partition('/')[2])}"


def application(path: str) -> str:
    """The part of `app/instance/key?query` that FFmpeg takes for RTMP's application."""
    first, slash, others = path.partition("/")
    instance, further, _ = others.partition("/")
    if not slash or not further or first == "ondemand" or ":" in instance:
        return first
    return f"{first}/{instance}"
