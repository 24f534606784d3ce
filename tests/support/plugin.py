"""The fake stages as an installed third-party distribution, for tests of the command line."""

from __future__ import annotations

from pathlib import Path

from stream_guard.stages.registry import GROUP

STAGES = {"find": "FindOne", "protect": "ProtectAll", "troubled": "Troubled", "slow": "Slow"}


def install(folder: Path) -> Path:
    """Write the metadata of a distribution into `folder`, which must then be on the path; returns `folder`."""
    info = folder / "fake_stages-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-stages\nVersion: 1.0\n")
    points = "".join(f"{name} = tests.support.fakes:{cls}\n" for name, cls in STAGES.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    return folder


def write_pipeline(folder: Path, *stages: str, on_failure: str = "block") -> Path:
    """A pipeline file of the given stage lines, such as `protect: {miss: [3]}`."""
    path = folder / "fake.yaml"
    lines = "".join(f"  - {stage}\n" for stage in stages)
    path.write_text(f"name: fake\non_failure: {on_failure}\nstages:\n{lines}")
    return path
