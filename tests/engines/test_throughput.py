"""The throughput benchmark runs and reports; how fast anything is, is not for a test to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.evaluation import benchmark_throughput as bench
from engines.evaluation import deface_side
from engines.evaluation.machine import machine
from engines.evaluation.naive_loop import naive_protect
from stream_guard.errors import StreamGuardError
from stream_guard.media import EncoderSettings, open_source
from stream_guard.media.synthesis import write_clip
from stream_guard.talking_head import speech, talking_head
from stream_guard.types import Frame
from tests.support.engines import write_disrupter


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "clip.mp4"
    write_clip(path, talking_head(320, 180, 0.32, 25), width=320, height=180, rate=25, loudness=speech)
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_disrupter(tmp_path_factory.mktemp("zoo")))


def test_it_prints_json_with_all_sides(
    clip: Path, engine: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "find_deface", lambda: "deface")
    monkeypatch.setattr(bench, "deface_seconds", lambda source, target, extra: 3.0 if source == clip else 2.5)
    bench.main([str(clip), "--repeats", "2", "--engine", engine, "--preset", "ultrafast", "--threads", "1"])
    found = json.loads(capsys.readouterr().out)
    assert set(found["sides"]) == {"plain", "ours", "naive", "deface", "deface_640x360"}
    assert set(found["ratios"]) == {
        "ours_to_plain",
        "ours_to_naive",
        "ours_to_deface",
        "ours_to_deface_640x360",
        "ours_to_plain_with_loading",
    }
    assert all(len(side["seconds"]) == 2 for side in found["sides"].values())
    assert found["sides"]["deface"]["fps"]["median"] == pytest.approx(7 / 0.5)
    assert found["cost"]["faces"] == 8
    assert found["cost"]["bitrate_ratio"] > 0
    assert found["cost"]["face"]["net_psnr_db"] > 20
    assert found["clip"]["sound"] is True


def test_a_side_that_is_not_there_is_left_out_with_a_note(
    clip: Path, engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "find_deface", lambda: None)
    options = bench.parse([str(clip), "--repeats", "1", "--engine", engine, "--without", "naive"])
    found = bench.benchmark(options, tmp_path)
    assert set(found["sides"]) == {"plain", "ours"}
    assert any("deface was not found" in note for note in found["notes"])


def test_the_naive_loop_changes_faces_and_keeps_times_and_sound(clip: Path, engine: str, tmp_path: Path) -> None:
    out = tmp_path / "naive.mp4"
    assert naive_protect(clip, out, EncoderSettings(preset="ultrafast", threads=1), engine, "onnxruntime") == 8
    with open_source(str(out)) as made, open_source(str(clip)) as source:
        assert [s.kind for s in made.info.streams] == [s.kind for s in source.info.streams]
        times = [[f.time_seconds for f in opened.read() if isinstance(f, Frame)] for opened in (made, source)]
    assert times[0] == times[1]


def test_deface_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(deface_side, "find_deface", lambda: "false")
    with pytest.raises(StreamGuardError, match="code 1"):
        deface_side.deface_seconds(tmp_path / "a.mp4", tmp_path / "b.mp4", [])


def test_the_machine_is_described_but_not_named() -> None:
    import platform

    facts = json.dumps(machine())
    assert "cpu_model" in facts
    assert (platform.node() or "no name") not in facts
