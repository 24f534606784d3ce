"""TensorRT's plans on a stand-in of it: built once, by one builder, and trusted only where they are whole and ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.errors import EngineError
from stream_guard.inference import open_session

from ..support.engines import disrupter_model
from ..support.gpu import VERSIONS, faked_gpu
from .tensorrt_orders import MODEL, PICTURES, built, order, reference

ROOT = Path(__file__).resolve().parents[2]


def test_the_plan_is_built_once(cuda: Any, tmp_path: Path) -> None:
    first = built(order(), tmp_path / "plans")
    stamp = first.path.stat().st_mtime_ns
    seen: list[Any] = []
    assert built(order(), tmp_path / "plans", seen).path.stat().st_mtime_ns == stamp
    assert seen == []
    assert built(order(), tmp_path / "plans", seen, force=True).path.stat().st_mtime_ns > stamp


def test_a_plan_of_another_version_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "plans"
    for version in (VERSIONS[3], VERSIONS[4]):
        with pytest.MonkeyPatch.context() as patch, faked_gpu(patch, cache, version):
            plan = built(order(), cache)
            assert plan.key.tensorrt == version
    assert len(list(cache.glob("*.plan"))) == 1, "the older version's plan is of no more use"
    with pytest.MonkeyPatch.context() as patch, faked_gpu(patch, cache, VERSIONS[3]):
        built(order(), cache)
    assert len(list(cache.glob("*.plan"))) == 2, "the newer version's is: somebody shares this folder"


@pytest.mark.parametrize("variable", ["FAKE_GPU_UUID", "FAKE_GPU_NAME", "FAKE_GPU_DRIVER"])
def test_another_gpu_or_driver_is_another_plan(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    first = order()
    monkeypatch.setenv(variable, "13000" if variable.endswith("DRIVER") else "two")
    assert order().key.digest != first.key.digest


def _truncate(plan: Path, header: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-100])


def _turn_a_bit(plan: Path, header: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[-1] ^= 1
    plan.write_bytes(data)


def _another_gpu(plan: Path, header: Path) -> None:
    about = json.loads(header.read_text())
    about["key"]["uuid"] = "another"
    header.write_text(json.dumps(about))


def _no_json(plan: Path, header: Path) -> None:
    header.write_text("{")


def _lose_the_plan(plan: Path, header: Path) -> None:
    plan.unlink()


def _lose_the_header(plan: Path, header: Path) -> None:
    header.unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_truncate, "it is cut off"),
        (_turn_a_bit, "not the ones that were written"),
        (_another_gpu, "built for another uuid"),
        (_no_json, "Expecting property name"),
        (_lose_the_plan, "its other half is missing"),
        (_lose_the_header, ""),
    ],
)
def test_a_plan_that_is_not_whole_is_built_anew(
    cuda: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Any, words: str
) -> None:
    plan = built(order(), tmp_path / "plans")
    harm(plan.path, plan.path.with_suffix(".json"))
    again = built(order(), tmp_path / "plans")
    assert again.data == plan.data or again.data[-100:] == plan.data[-100:]
    assert words in caplog.text
    session = open_session(MODEL, "tensorrt")
    session.close()


def test_a_folder_that_others_may_write_to_is_not_trusted(cuda: Any, tmp_path: Path) -> None:
    built(order(), tmp_path / "plans")
    (tmp_path / "plans").chmod(0o777)
    with pytest.raises(EngineError, match="other users may write"):
        built(order(), tmp_path / "plans")
    (tmp_path / "plans").chmod(0o770)
    assert built(order(), tmp_path / "plans").data, "the group is our own"
    (tmp_path / "plans").chmod(0o700)


def test_what_a_killed_writer_left_is_swept_away(cuda: Any, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir(mode=0o700)
    old, fresh = (tmp_path / "plans" / f".{name}.plan.part-x" for name in ("old", "fresh"))
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (1, 1))
    built(order(), tmp_path / "plans")
    assert (old.exists(), fresh.exists()) == (False, True)


def test_two_builders_at_once_build_once(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BUILD_SECONDS", "1")
    made, seen, plans = order(), [[], []], []  # type: ignore[var-annotated]
    threads = [
        threading.Thread(target=lambda n=n: plans.append(built(made, tmp_path / "plans", seen[n]))) for n in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plans[0].data == plans[1].data
    phases = [{progress.phase for progress in one} for one in seen]
    assert sum("Building Engine" in one for one in phases) == 1
    assert sum("waiting for another process that builds this plan" in one for one in phases) == 1


def test_a_builder_that_dies_leaves_no_lock(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BUILD", "kill")
    with pytest.raises(EngineError, match=r"killed by SIGKILL \(the kernel does that when memory is short"):
        built(order(), tmp_path / "plans")
    monkeypatch.setenv("FAKE_BUILD", "crash")
    with pytest.raises(EngineError, match="ended with the code 77"):
        built(order(), tmp_path / "plans")
    assert not list((tmp_path / "plans").glob("*.plan"))
    monkeypatch.delenv("FAKE_BUILD")
    assert built(order(), tmp_path / "plans").data


def test_a_session_takes_a_plan_with_other_shapes(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(order(profiles=[{"face": (6, 3, 16, 16)}, {"face": (2, 3, 16, 16)}]), tmp_path / "plans")
    monkeypatch.setenv("FAKE_BUILD", "crash")  # nothing may be built
    session = open_session(MODEL, "tensorrt")
    for rows in (1, 2, 5, 13):
        delta = session.run({"face": PICTURES[:rows]})["delta"]
        np.testing.assert_allclose(delta, reference(PICTURES[:rows]), atol=1e-3)
    session.close()


def test_a_plan_that_computes_something_else_is_not_run(cuda: Any, tmp_path: Path) -> None:
    from stream_guard.inference.plans import PlanCache

    made = order()
    wrong = built(order(model=disrupter_model("waves", 16, 8)), tmp_path / "plans")
    PlanCache(tmp_path / "plans").store(made.key, wrong.data, {})
    with pytest.raises(EngineError, match="outputs differ from ONNX Runtime's"):
        open_session(MODEL, "tensorrt")


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_a_plan_is_compared_at_each_batch_size(cuda: Any, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setenv("FAKE_WRONG_BATCH", str(batch))
    with pytest.raises(EngineError, match="outputs differ from ONNX Runtime's"):
        open_session(MODEL, "tensorrt")


def test_no_builder_is_left_when_its_parent_is_killed(cuda: Any, tmp_path: Path) -> None:
    env = {**os.environ, "FAKE_BUILD_SECONDS": "600", "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT}"}
    command = [sys.executable, "-m", "tests.support.build_slowly", str(tmp_path / "plans")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as parent:
        assert parent.stdout is not None
        while "Building Engine" not in parent.stdout.readline():
            assert parent.poll() is None
        parent.kill()
    stop = threading.Event()
    too_long = threading.Timer(60, stop.set)
    too_long.start()
    assert built(order(), tmp_path / "plans", stop=stop).data, "the lock is free once the builder is gone, too"
    too_long.cancel()
    too_long.join()
