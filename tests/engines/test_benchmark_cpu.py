"""The benchmarks of 8-bit integers and of cores run and report; how fast anything is, is not for a test to say."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.evaluation import benchmark_int8, benchmark_pinning
from stream_guard.crew import Crew
from stream_guard.inference import load_card, open_session


def a_pack(path: Path) -> Path:
    """Four faces of noise in a pack: two of the validation split, two of the test split."""
    jpegs = []
    for seed in range(4):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
        jpegs.append(file.getvalue())
    data: dict[str, Any] = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "jpeg_end": np.cumsum([len(j) for j in jpegs]),
        "mask": np.zeros(0, np.uint8),
        "mask_end": np.zeros(4, np.int64),
        "names": np.array(list("abcd")),
        "split": np.array([1, 1, 2, 2]),
        "face": np.tile(np.array([0.2, 0.2, 0.8, 0.8], np.float32), (4, 1)),
    }
    with path.open("wb") as stream:
        np.savez(stream, **data)
    return path


def test_the_quantised_engine_is_one_and_near_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "int8"
    benchmark_int8.main([str(a_pack(tmp_path / "faces.pack")), "--repeats", "1", "--faces", "2", "--write", str(made)])
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"]["int8"] < found["bytes"]["float32"] / 2
    assert found["delta"]["onnxruntime"]["cosine_least"] > 0.9
    assert found["milliseconds_a_face"].keys() == {
        f"{b}_{p}" for b in benchmark_int8.BACKENDS for p in ("float32", "int8")
    }
    card = load_card(made)
    session = open_session(card, "onnxruntime")
    assert session.run({"face": np.zeros((1, *card.input_shape("face")[1:]), np.float32)})["delta"].shape[:2] == (1, 3)
    session.close()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are bound to cores on Linux only")
def test_threads_are_bound_by_name_and_only_inside() -> None:
    there = sorted(os.sched_getaffinity(0))
    seen: dict[str, set[int]] = {}

    def look(name: str) -> None:
        crew = Crew(lambda: None)
        crew.start(name, lambda: seen.__setitem__(threading.current_thread().name, os.sched_getaffinity(0)))
        crew.join()

    with benchmark_pinning.bound(benchmark_pinning.ways(there)["stages"]):
        look("stages")
        look("decode")
    assert seen == {"stream-guard-stages": {there[0]}, "stream-guard-decode": set(there)}
    look("stages")
    assert seen["stream-guard-stages"] == set(there)
    assert os.sched_getaffinity(0) == set(there)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are bound to cores on Linux only")
def test_pinning_prints_json_with_all_ways(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_pinning.main(["--seconds", "0.2", "--repeats", "1", "--width", "320", "--height", "180"])
    found = json.loads(capsys.readouterr().out)
    assert found["sides"].keys() == {"off", "each", "apart", "stages"}
    assert found["over_off"].keys() == {"each", "apart", "stages"}
