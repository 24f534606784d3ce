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
from urllib.parse import unquote_to_bytes, urlsplit

from ... import __version__
from ...errors import ConfigError
from ...metrics import Metrics
from ..urls import CheckedUrl
from .deliveries import Deliveries, Delivery
from .signing import HEADER, sign

TIMEOUT_SECONDS = 10.0
LONGEST_ANSWER = 3
"""Time-outs that one exchange may take in all."""
ATTEMPTS = 10
"""Over about nine hours; then the delivery is given up."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, JITTER = 5.0, 3 * 3600.0, 0.3
IDLE_SECONDS = 60.0
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
    """The thread that delivers. `check` gives the URL's checked form or raises ConfigError; it is asked each time."""

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
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="stream-guard-webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new to tell."""
        self._wake.set()

    def close(self) -> None:
        """End the thread; a delivery on its way is waited for, at most for its time-outs."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            try:
                delivery = self._deliveries.take()
                if delivery is not None:
                    self._deliver(delivery)
                    continue
                wait = self._deliveries.due()
            except Exception:
                log.exception("webhooks: going on after an error")
                wait = IDLE_SECONDS
            self._wake.wait(IDLE_SECONDS if wait is None else min(wait, IDLE_SECONDS))
            self._wake.clear()

    def _deliver(self, delivery: Delivery) -> None:
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"stream-guard/{__version__}",
            HEADER: sign(body, self._secret),
        }
        try:
            status = post(self._check(delivery.url), body, headers, self._timeout)
        except ConfigError as exc:
            self._failed(delivery, str(exc))
        except (OSError, http.client.HTTPException) as exc:
            self._failed(delivery, f"{type(exc).__name__}: {getattr(exc, 'strerror', None) or 'no answer'}")
        else:
            if status in SUCCESS:
                self._end(delivery, "delivered")
            else:
                self._failed(delivery, f"it answered {status}")

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
