"""Who asks, and whom."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ... import __version__
from .asking import RULES

router = APIRouter(prefix="/v1", tags=["about"], dependencies=RULES)


class About(BaseModel):
    version: str = Field(description="Stream Guard's version")
    role: Literal["read", "write"] = Field(description="What the caller may do; write without tokens")
    token: str = Field(description="The name of the caller's token; empty without tokens")


@router.get("/about", summary="The version, and what the caller may do")
async def about(request: Request) -> About:
    """A cheap way to test a token."""
    token = getattr(request.state, "token", None)
    role = token.role if token else "write"
    return About(version=__version__, role=role, token=token.name if token else "")
