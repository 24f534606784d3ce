"""A certificate of our own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest


def certified(folder: Path) -> tuple[Path, Path]:
    """A new certificate for localhost, and its key."""
    if which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run([*make.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return certificate, key
