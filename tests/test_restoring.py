"""A file restored from the command line: it is written, and nobody is told that it is protected."""

from __future__ import annotations

import json
from pathlib import Path

import av
from typer.testing import CliRunner

from stream_guard.cli import app
from tests.support.screening import clip, restoring


def test_a_pipeline_that_restores_writes_the_file_and_says_that_nothing_is_protected(tmp_path: Path) -> None:
    source, out = clip(tmp_path / "in.mp4", rough=60), tmp_path / "out.mp4"
    words = ["protect", str(source), str(out), "--pipeline", str(restoring(tmp_path, "restore")), "--json", "-q"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["protected_faces"], report["frames_out"]) == (0, 25)
    assert report["verdicts"].get("magdr:perturbed")
    assert "protects no face" in result.stderr
    assert "what was written is not protected" in result.stderr
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == 25


def test_a_pipeline_that_only_looks_is_refused_still(tmp_path: Path) -> None:
    words = ["protect", "in.mp4", str(tmp_path / "out.mp4"), "--pipeline", str(restoring(tmp_path, "check"))]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "protects no face (its stages: faces, magdr); add the stage disrupt" in result.stderr
