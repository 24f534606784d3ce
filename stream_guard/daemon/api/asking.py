"""What the routes share: how they reach the daemon, and the kinds of text that a path or header may hold."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPBearer

from ..control import Control
from ..settings import NAME


def _control(request: Request) -> Any:
    return request.app.state.control


Daemon = Annotated[Control, Depends(_control)]
Name = Annotated[str, Path(pattern=NAME, description="The stream's name")]
JobId = Annotated[str, Path(pattern=NAME, description="The job's id")]
IdempotencyKey = Annotated[
    str,
    Header(
        pattern=r"^[\x21-\x7e]{0,200}$",
        description="Any text of the client's own. The same key again answers with the first job and starts nothing",
    ),
]
documented = HTTPBearer(auto_error=False, description="A token of http.tokens; not needed on loopback without tokens")
"""For the OpenAPI only: guard.py checks the token before a body is read."""
