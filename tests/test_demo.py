"""The demo on a small clip, with a stage that changes the face in place of a trained network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from stream_guard import config, demo
from stream_guard.audit.probes import Probe, load_probes
from stream_guard.commands import demo as command
from stream_guard.commands.console import guarded
from stream_guard.config import PipelineConfig, StageSpec
from stream_guard.demo import MARK, DemoFiles, claim
from stream_guard.errors import UsageError
from stream_guard.media import EncoderSettings, pixels
from stream_guard.stages.base import Stage
from stream_guard.types import Frame, guard_region
from tests.support.probes import NAME, write_probe

FILES = {MARK, "original.mp4", "protected.mp4", "report.html", "audit.json"}
QUICK = EncoderSettings(preset="ultrafast", crf=12, threads=1)


class Stripes(Stage):
    """Perturbs every face with broad stripes, so that the test generator fails."""

    name, description, protects = "stripes", "stripes on faces", True

    def process(self, frame: Frame) -> Iterable[Frame]:
        delta = np.zeros((3, 16, 16), np.float32)
        delta[0] = np.where(np.arange(16) // 4 % 2, 16 / 255, -16 / 255)
        for face in frame.faces:
            pixels.add_perturbation(frame.picture, guard_region(face.box), delta, epsilon=16 / 255)
        yield replace(frame, faces=tuple(face.protected() for face in frame.faces))


def pipeline() -> PipelineConfig:
    from stream_guard.stages.faces import FacesStage

    return PipelineConfig(
        "test", (StageSpec("faces", FacesStage, FacesStage.Options()), StageSpec("stripes", Stripes, Stripes.Options()))
    )


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_probe(tmp_path / "zoo" / NAME, gain=4, size=64)

    def load(names: object = None, backend: str = "onnxruntime", threads: int = 1) -> list[Probe]:
        return load_probes([str(folder)], "onnxruntime")

    monkeypatch.setattr(demo, "load_probes", load)
    monkeypatch.setattr(demo, "RATE", 10)


@pytest.mark.usefixtures("probes")
def test_it_draws_protects_audits_and_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    said: list[str] = []
    for _ in range(2):
        report, result = demo.make_demo(
            folder, pipeline(), seconds=0.8, size=(320, 180), encoder=QUICK, say=said.append
        )
    assert {path.name for path in folder.iterdir()} == FILES
    assert report.protected_faces == report.faces == result.summary["faces"] == 8
    figures = json.loads((folder / "audit.json").read_text())
    assert figures["generators"][NAME]["disrupted"] > 0.9
    assert figures["generators"][NAME]["control"]["disrupted"] < 0.1
    assert figures["face"]["net_psnr_db"] > figures["face"]["psnr_db"]
    assert "data:image/jpeg" in (folder / "report.html").read_text()
    assert len(said) == 6


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "original.mp4").write_text("mine")
    with pytest.raises(UsageError, match="no demo made"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["original.mp4"]


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot use the folder"):
        claim(tmp_path / "file")


def test_an_empty_folder_and_an_earlier_demos_are_taken(tmp_path: Path) -> None:
    assert claim(tmp_path) == DemoFiles(tmp_path)
    (tmp_path / "report.html").write_text("old")
    assert claim(tmp_path) == DemoFiles(tmp_path)


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    monkeypatch.setattr(config, "load_pipeline", lambda name: pipeline())
    monkeypatch.setattr(demo.make_demo, "__kwdefaults__", {**demo.make_demo.__kwdefaults__, "size": (320, 180)})
    app = typer.Typer()
    app.command()(guarded(command.demo))
    folder = tmp_path / "demo"
    done = CliRunner().invoke(app, ["--output", str(folder), "--seconds", "1", *(["--json"] if as_json else [])])
    assert done.exit_code == 0, done.stderr
    if as_json:
        assert json.loads(done.stdout)["files"]["report"] == str(folder / "report.html")
        assert done.stderr == ""
    else:
        assert all(str(folder / name) in done.stdout for name in FILES - {MARK})
        assert "surrogate" in done.stdout
        assert "drawing" in done.stderr
