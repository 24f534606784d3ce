"""File jobs: queue, list, watch, cancel."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from ..control import JobPhase, JobState
from ..settings import NAME, JobSettings
from .answers import DOCUMENTED
from .asking import RULES, Daemon, IdempotencyKey, JobId

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=RULES)
Phase = Annotated[JobPhase | None, Query(description="Only jobs in this phase")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most jobs to list")]
Before = Annotated[
    str | None,
    Query(pattern=NAME, description="Only jobs older than this one: the last of a list, for the list after it"),
]
AGAIN = {200: {"model": JobState, "description": "The job that this Idempotency-Key started before"}, **DOCUMENTED}


@router.get("", summary="Jobs, newest first")
def list_jobs(daemon: Daemon, phase: Phase = None, limit: Limit = 100, before: Before = None) -> list[JobState]:
    """Queued, running, waiting for another attempt, and ended ones. 404 where `before` names no job."""
    return daemon.jobs(phase, limit, before)


@router.post("", status_code=201, responses=AGAIN, summary="Queue a job")
def submit_job(
    settings: JobSettings, daemon: Daemon, response: Response, idempotency_key: IdempotencyKey = ""
) -> JobState:
    """201 for a new job; 200 with the first one for an Idempotency-Key seen before; 409 if its settings differ."""
    job, new = daemon.submit(settings, idempotency_key)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/{id}", summary="One job")
def get_job(id: JobId, daemon: Daemon) -> JobState:
    """Its phase, progress and, once ended, its outcome and report."""
    return daemon.job(id)


@router.delete("/{id}", summary="Cancel a job")
def cancel_job(id: JobId, daemon: Daemon) -> JobState:
    """Ends it as aborted; no output is left. 409 for a job that has ended."""
    return daemon.cancel(id)
