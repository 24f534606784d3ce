"""Drives the installed Chromium by plain WebDriver over HTTP: no client library, nothing from the network."""

from __future__ import annotations

import base64
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window. Elements are named by CSS selectors."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def ask(self, path: str, **body: Any) -> Any:
        answer = self._session.post(path, json=body)
        return answer.raise_for_status().json()["value"]

    def open(self, url: str) -> None:
        self.ask("url", url=url)

    def run(self, script: str) -> Any:
        """The value that the script returns."""
        return self.ask("execute/sync", script=script, args=[])

    def text(self, selector: str = "body") -> str:
        """What a person reads there; empty where the element is missing or hidden."""
        found = self.run(f"const node = document.querySelector({selector!r}); return node ? node.innerText : ''")
        return str(found)

    def click(self, selector: str) -> None:
        self.ask(f"element/{self._find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        self.ask(f"element/{self._find(selector)}/value", text=text)

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.ask("goog/cdp/execute", cmd=command, params=parameters)

    def size(self, width: int, height: int) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, value: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if value else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def save(self, path: Path) -> None:
        """The window as PNG."""
        path.write_bytes(base64.b64decode(self._session.get("screenshot").json()["value"]))

    def complaints(self) -> list[str]:
        """Errors of the console since the last call: scripts that failed, and what the content policy blocked."""
        entries = self.ask("se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def wait(self, condition: Callable[[], Any], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page does not show it; it shows: {self.text()}")
            time.sleep(0.1)

    def wait_for(self, text: str, selector: str = "body") -> None:
        self.wait(lambda: text in self.text(selector))

    def _find(self, selector: str) -> str:
        return str(self.ask("element", using="css selector", value=selector)[ELEMENT])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A fresh Chromium whose profile lies in `folder`; the test is skipped where there is none."""
    chromium, driver = which("chromium"), which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    with subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            with httpx.Client(base_url=_address(process), timeout=60, trust_env=False) as client:
                yield from _session(client, [*FLAGS, f"--user-data-dir={folder}"], chromium)
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return f"http://127.0.0.1:{found[1]}"
    raise RuntimeError("chromedriver ended before it listened")


def _session(client: httpx.Client, flags: list[str], chromium: str) -> Iterator[Browser]:
    options = {"args": flags, "binary": chromium}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    answer = client.post("session", json={"capabilities": {"alwaysMatch": wanted}}).raise_for_status()
    client.base_url = client.base_url.join(f"session/{answer.json()['value']['sessionId']}/")
    try:
        yield Browser(client)
    finally:
        # Chromium ends with its session, and only with it. The path must not end in a slash.
        client.delete(str(client.base_url).rstrip("/")).raise_for_status()
