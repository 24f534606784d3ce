"""Every error that Stream Guard raises on purpose. Each message says what came, what is allowed and what to do."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line, after FaceFusion's convention."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    REJECTED = 3
    STOPPED = 4


class StreamGuardError(Exception):
    """Base of all our errors; `exit_code` is what the command line ends with."""

    exit_code = ExitCode.ERROR


class UsageError(StreamGuardError):
    """Wrong usage or a failed pre-check: nothing was started."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A pipeline or option that does not validate."""


class UnknownNameError(UsageError):
    """A name that is not in a registry; the message lists every valid one."""

    def __init__(self, kind: str, name: str, valid: list[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; choose one of: {', '.join(sorted(valid)) or '(none installed)'}")


class MediaError(StreamGuardError):
    """A file or stream that cannot be opened, read or written."""


class SourceError(MediaError):
    """The input is missing, unreadable or not video."""

    exit_code = ExitCode.USAGE


class LimitError(SourceError):
    """The input is larger or faster than the limits allow: asked again, it would be so again."""


class TruncatedSourceError(MediaError):
    """The input ends before its own index says it does."""


class SinkError(MediaError):
    """The output cannot be created or written."""


class OutputRefusedError(SinkError):
    """The output may not be written where it was asked for: found before a frame is read."""

    exit_code = ExitCode.USAGE


class EngineError(StreamGuardError):
    """An engine that is missing, damaged, foreign or failing."""


class FeedError(EngineError):
    """What was handed to an engine does not fit it: no other backend would take it either."""


class GpuMemoryError(EngineError):
    """The GPU has too little memory left."""


class StageError(StreamGuardError):
    """A stage failed; names the stage and the frame's time."""

    def __init__(self, stage: str, time_seconds: float | None, cause: BaseException) -> None:
        at = "" if time_seconds is None else f" at {time_seconds:.3f} s"
        super().__init__(f"stage {stage!r} failed{at}: {_in_words(cause)}")
        self.stage = stage
        self.time_seconds = time_seconds


def _in_words(cause: BaseException) -> str:
    """The error's own message; with its kind where the message alone says nothing, as a bare assertion's or a key."""
    text = str(cause)
    if not text or isinstance(cause, (LookupError, SystemExit)):
        return f"{type(cause).__name__}: {text}".removesuffix(": ")
    return text


class StoppedError(StreamGuardError):
    """The user stopped the run."""

    exit_code = ExitCode.STOPPED


class UnprotectedError(StreamGuardError):
    """A picture could not be protected, and `on_failure: disconnect` says to end then."""

    def __init__(self, reason: str, time_seconds: float) -> None:
        super().__init__(
            f"the picture at {time_seconds:.3f} s could not be protected ({reason}), and on_failure is disconnect; "
            "block, black or pass would go on"
        )
        self.reason = reason


class NoPictureError(StreamGuardError):
    """A stream was asked for a picture before it had one."""
