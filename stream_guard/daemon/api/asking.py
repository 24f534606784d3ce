"""What the routes share: how they reach the daemon, and the kinds of text that a path or header may hold."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import HTTPBearer

from ...errors import UsageError
from ..control import Control
from ..settings import NAME


def _control(request: Request) -> Any:
    return request.app.state.control


def only_known(request: Request) -> None:
    """Refuses query parameters that nobody reads: a misspelt filter must not answer with everything."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    if any(name not in known for name in request.query_params):
        named = f"allowed here: {', '.join(known)}" if known else "none is allowed here"
        raise UsageError(f"the query has a parameter that is not known; {named}")


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
RULES = [Security(documented), Depends(only_known)]
"""What holds for every route under /v1."""
