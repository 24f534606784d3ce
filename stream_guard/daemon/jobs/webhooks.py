"""Tells URLs what became of jobs: signed, tried again with back-off, without following redirects."""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import random
import socket
import ssl
import threading
from collections.abc import Callable
from time import monotonic
from urllib.parse import unquote_to_bytes, urlsplit

from ... import __version__
from ...errors import ConfigError
from ...metrics import Metrics
from ..urls import CheckedUrl
from .deliveries import LONGEST_WAIT_SECONDS, Deliveries, Delivery
from .schema import JobStoreError
from .signing import HEADER, sign

TIMEOUT_SECONDS = 10.0
LONGEST_ANSWER = 3
"""Time-outs that one exchange may take in all."""
ATTEMPTS = 10
"""Over about nine hours; then the delivery is given up."""
FIRST_WAIT_SECONDS, JITTER = 5.0, 0.3
IDLE_SECONDS = 60.0
CLOSE_SECONDS = 2.0
"""How long the end of the daemon waits for deliveries on their way; the others are sent again at the next start."""
THREADS = 4
"""Deliveries at once, one a receiver: one that hangs keeps none of the others waiting."""
SUCCESS = range(200, 300)

log = logging.getLogger(__name__)


def post(target: CheckedUrl, body: bytes, headers: dict[str, str], timeout: float = TIMEOUT_SECONDS) -> int:
    """POST to one of the addresses that were checked, never asking for the name again; returns the status.

    Raises OSError or http.client.HTTPException. TLS certificates are verified against the URL's host.
    """
    failure: OSError = ConnectionError("the host has no address")
    for address in target.addresses:
        try:
            raw = socket.create_connection((address, target.port), timeout)
        except OSError as exc:
            failure = exc
            continue
        return _exchange(raw, target, body, headers, timeout)
    raise failure


def _exchange(raw: socket.socket, target: CheckedUrl, body: bytes, headers: dict[str, str], timeout: float) -> int:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    sockets = [raw]
    # A receiver that sends a byte now and then would never run into the socket's own time-out.
    last_call = threading.Timer(LONGEST_ANSWER * timeout, lambda: _hang_up(sockets[-1]))
    last_call.daemon = True
    last_call.start()
    try:
        if target.scheme == "https":
            connection.default_port = http.client.HTTPS_PORT
            sockets.append(ssl.create_default_context().wrap_socket(raw, server_hostname=target.host))
        connection.sock = sockets[-1]
        parts = urlsplit(target.url)
        if parts.username is not None:  # as every client sends what stands before the host
            given = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
            headers = {**headers, "Authorization": f"Basic {base64.b64encode(given).decode()}"}
        connection.request("POST", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers)
        with connection.getresponse() as answer:
            return answer.status
    finally:
        last_call.cancel()
        last_call.join()
        connection.close()
        for one in sockets:
            one.close()


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


class Webhooks:
    """The threads that deliver. `check` gives the URL's checked form or raises ConfigError; it is asked each time."""

    def __init__(
        self,
        deliveries: Deliveries,
        secret: str,
        check: Callable[[str], CheckedUrl],
        metrics: Metrics,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._deliveries = deliveries
        self._secret = secret
        self._check = check
        self._metrics = metrics
        self._timeout = timeout
        self._changed = threading.Condition()
        self._busy: set[str] = set()
        self._closing = self._left = False
        self._threads = [
            threading.Thread(target=self._run, name=f"stream-guard-webhooks-{number}", daemon=True)
            for number in range(THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is something new to tell."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the threads; one whose receiver still hangs after CLOSE_SECONDS is left, and changes nothing any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - monotonic()))
        with self._changed:
            self._left = True

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            try:
                self._deliver(delivery)
            except Exception:
                log.exception("webhooks: going on after an error")
                with self._changed:  # its receiver stays busy: it would be told again and again
                    self._changed.wait_for(lambda: self._closing, IDLE_SECONDS)
            with self._changed:
                self._busy.discard(delivery.receiver)
                self._changed.notify_all()

    def _next(self) -> Delivery | None:
        """The delivery whose turn it is, once there is one; None at the end."""
        with self._changed:
            while not self._closing:
                try:
                    delivery = self._deliveries.take(self._busy)
                    if delivery is not None:
                        self._busy.add(delivery.receiver)
                        return delivery
                    wait = self._deliveries.due(self._busy)
                except JobStoreError as exc:
                    log.warning("webhooks wait: %s", exc)
                    wait = None
                except Exception:
                    log.exception("webhooks: going on after an error")
                    wait = None
                self._changed.wait(IDLE_SECONDS if wait is None else min(wait, IDLE_SECONDS))
        return None

    def _deliver(self, delivery: Delivery) -> None:
        said = self._said(delivery)
        with self._changed:  # not in the midst of a writing does `close` return
            if self._left:
                return
            if said:
                self._failed(delivery, said)
            else:
                self._end(delivery, "delivered")

    def _said(self, delivery: Delivery) -> str:
        """Why the receiver did not take it; empty where it did."""
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"stream-guard/{__version__}",
            HEADER: sign(body, self._secret),
        }
        try:
            status = post(self._check(delivery.url), body, headers, self._timeout)
        except ConfigError as exc:
            return str(exc)
        except (OSError, http.client.HTTPException) as exc:
            return f"{type(exc).__name__}: {getattr(exc, 'strerror', None) or 'no answer'}"
        return "" if status in SUCCESS else f"it answered {status}"

    def _failed(self, delivery: Delivery, why: str) -> None:
        if delivery.attempts >= ATTEMPTS:
            log.warning("the webhook of job %s is given up after %d attempts: %s", delivery.job, ATTEMPTS, why)
            self._end(delivery, "given_up")
            return
        wait = min(FIRST_WAIT_SECONDS * 4.0 ** (delivery.attempts - 1), LONGEST_WAIT_SECONDS)
        self._deliveries.put_back(delivery.id, wait * (1 - JITTER * random.random()))
        self._metrics["webhook_deliveries"].labels("retried").inc()
        log.info("the webhook of job %s was not taken (%s); it is tried again", delivery.job, why)

    def _end(self, delivery: Delivery, outcome: str) -> None:
        self._deliveries.remove(delivery.id)
        self._metrics["webhook_deliveries"].labels(outcome).inc()
