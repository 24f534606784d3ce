"""Where compiled plans are kept, under what key, and when one is trusted.

A plan is code for one GPU, one driver and one TensorRT: it is taken only where everything that it was built for is as
it is now, its bytes have the sum that was written down, and nobody else could have put it there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import EngineError

VARIABLE = "STREAM_GUARD_CACHE"
FORMAT = 1
PART, PART_SECONDS = ".part-", 3600.0
"""In the name of a file that is being written; nobody writes one for so long."""
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$STREAM_GUARD_CACHE`, or `plans` in the user's cache: `$XDG_CACHE_HOME/stream-guard`, ~/.cache/stream-guard."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stream-guard" / "plans"


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on. `shapes` are the profiles as text, such as `face=1x3x128x128;face=4x3x128x128`."""

    model_sha256: str
    tensorrt: str
    gpu: str
    capability: str
    uuid: str
    driver: str
    precision: str
    shapes: str
    calibration_sha256: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as it lies in the cache: its bytes and what was written down beside it."""

    path: Path
    key: PlanKey
    data: bytes = field(repr=False)
    about: Mapping[str, Any]


class PlanCache:
    """The folder. Made when the first plan is stored, for its owner alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else cache_folder()

    def lock_path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.digest}.lock"

    def prepare(self) -> None:
        """Make the folder. Raises EngineError where that, or writing into it, is not allowed."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise EngineError(
                f"plans can't be kept in {self.folder}: {error.strerror or error}; set {VARIABLE} to a folder of yours"
            ) from error
        _check_owner(self.folder)
        self._sweep()

    def _sweep(self) -> None:
        """Parts of files whose writer was killed in mid-write."""
        for part in self.folder.glob(f".*{PART}*"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > PART_SECONDS:
                    part.unlink()

    def find(self, key: PlanKey) -> PlanFile | None:
        """The plan, if there is one and it can be trusted. The log says why one is not; the next build replaces it."""
        plan, header = self._paths(key)
        if not header.exists():  # written last: a plan without it is not finished
            return None
        try:
            _check_owner(self.folder)
            data, about = plan.read_bytes(), json.loads(header.read_text(encoding="utf-8"))
            why = _distrust(data, about, key)
        except FileNotFoundError:
            why = "its other half is missing"
        except (OSError, ValueError, EngineError) as error:
            why = str(error)
        if why:
            _log.warning("the plan %s is not used and will be built anew: %s", plan, why)
            return None
        return PlanFile(plan, key, data, about)

    def find_like(self, key: PlanKey, free: tuple[str, ...]) -> PlanFile | None:
        """A plan of this key but for the fields `free`, which only whoever had it built could choose; the newest."""
        wanted = {name: value for name, value in asdict(key).items() if name not in free}
        for about in sorted(self.headers(), key=lambda about: -float(about.get("built_at", 0))):
            found = about.get("key")
            if isinstance(found, dict) and {n: v for n, v in found.items() if n not in free} == wanted:
                plan = self.find(PlanKey(**found))
                if plan is not None:
                    return plan
        return None

    def store(self, key: PlanKey, data: bytes, about: Mapping[str, Any]) -> Path:
        """Write a plan and what is to be said of it, each whole or not at all; the header last: it makes it valid."""
        self.prepare()
        plan, header = self._paths(key)
        written = {
            "format": FORMAT,
            "key": asdict(key),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            **about,
        }
        write_whole(plan, data)
        write_whole(header, json.dumps(written, indent=2).encode())
        self._forget_older(key)
        return plan

    def _forget_older(self, key: PlanKey) -> None:
        """Plans of the same model and shapes for this GPU that an older TensorRT or another driver made.

        A newer one's stay: two environments that share the folder would build theirs anew in turns.
        """
        same = ("model_sha256", "uuid", "precision", "shapes", "calibration_sha256")
        wanted = asdict(key)
        for header in self.folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, AttributeError, KeyError):
                found = json.loads(header.read_text(encoding="utf-8")).get("key", {})
                alike = found != wanted and all(found.get(name) == wanted[name] for name in same)
                if alike and _version(found["tensorrt"]) <= _version(key.tensorrt):
                    header.unlink(missing_ok=True)
                    header.with_suffix(".plan").unlink(missing_ok=True)

    def timing_path(self, key: PlanKey) -> Path:
        """What TensorRT learnt of kernels: good for every model of this TensorRT on such a GPU."""
        name = hashlib.sha256(f"{key.tensorrt} {key.gpu} {key.capability} {key.driver}".encode()).hexdigest()[:16]
        return self.folder / f"timing-{name}.cache"

    def headers(self) -> list[dict[str, Any]]:
        """What lies here, as written down; unreadable ones are left out."""
        found = []
        for header in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                about = json.loads(header.read_text(encoding="utf-8"))
                if isinstance(about, dict):
                    found.append(about)
        return found

    def size_bytes(self) -> int:
        """Of everything in the folder."""
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())

    def _paths(self, key: PlanKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.plan", self.folder / f"{key.digest}.json"


def _distrust(data: bytes, about: Any, key: PlanKey) -> str:
    """Why a plan is not what its header and the machine say; empty where it is."""
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return "its header has another form"
    found = about.get("key")
    if found != asdict(key):
        other = [n for n, v in asdict(key).items() if not isinstance(found, dict) or found.get(n) != v]
        return f"it was built for another {', '.join(other)}"
    if len(data) != about.get("bytes"):
        return f"it has {len(data)} bytes instead of {about.get('bytes')}: it is cut off"
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        return "its bytes are not the ones that were written"
    return ""


def _check_owner(folder: Path) -> None:
    """A plan is run as code: raises EngineError where others than its user (or root) may put files.

    Its own group may: Kubernetes gives every volume to the pod's `fsGroup`.
    """
    if os.name != "posix":
        return
    found = folder.stat()
    forbidden = 0o002 if found.st_gid == os.getegid() else 0o022
    if found.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(found.st_mode) & forbidden:
        raise EngineError(
            f"other users may write to {folder}, and a plan is run as code; "
            f"make it yours alone (chmod 700), or set {VARIABLE} to another folder"
        )


def write_whole(path: Path, data: bytes) -> None:
    """Write beside and rename, so that nobody ever sees half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}{PART}", delete=False) as part:
        try:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
            os.replace(part.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part.name)
            raise


def _version(text: str) -> tuple[int, ...]:
    """`10.16.1.11` as numbers; what is none counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))
