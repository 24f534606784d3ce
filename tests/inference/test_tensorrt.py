"""TensorRT's builder and session on a stand-in of it: every version's rules, and everything that goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stream_guard.errors import EngineError, FeedError, GpuMemoryError, StoppedError
from stream_guard.inference import open_session

from ..support.engines import disrupter_model
from ..support.gpu import VERSIONS, faked_gpu

ROOT = Path(__file__).resolve().parents[2]
MODEL = disrupter_model("follows", 16, 8)
PICTURES = np.random.default_rng(0).random((40, 3, 16, 16), dtype=np.float32)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with faked_gpu(monkeypatch, tmp_path / "plans") as runtime:
        yield runtime
        left = (runtime.live.device, runtime.live.host, runtime.live.streams, runtime.live.graphs)
        assert not any(left)


def order(precision: str = "fp16", model: bytes = MODEL, **more: Any) -> Any:
    from stream_guard.inference.tensorrt_session import order_for

    return order_for(model, precision, **more)


def built(made: Any, cache: Path, seen: list[Any] | None = None, **more: Any) -> Any:
    from stream_guard.inference.builder import build
    from stream_guard.inference.plans import PlanCache

    watch = seen.append if seen is not None else lambda progress: None
    return build(made, PlanCache(cache), watch, more.pop("stop", threading.Event()), **more)


def reference(pictures: np.ndarray) -> np.ndarray:
    return open_session(MODEL, "onnxruntime").run({"face": pictures})["delta"]


def test_every_version_builds_and_runs(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with faked_gpu(monkeypatch, tmp_path, version) as runtime:
        session = open_session(MODEL, "tensorrt")
        for rows in (1, 3, 8, 40):
            delta = session.run({"face": PICTURES[:rows]})["delta"]
            np.testing.assert_allclose(delta, reference(PICTURES[:rows]), atol=1e-3)
        session.close()
        assert not runtime.live.device


def test_the_plan_is_built_once(cuda: Any, tmp_path: Path) -> None:
    first = built(order(), tmp_path / "plans")
    stamp = first.path.stat().st_mtime_ns
    seen: list[Any] = []
    assert built(order(), tmp_path / "plans", seen).path.stat().st_mtime_ns == stamp
    assert seen == []
    assert built(order(), tmp_path / "plans", seen, force=True).path.stat().st_mtime_ns > stamp


def test_progress_rises_and_says_what_is_left(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BUILD_SECONDS", "0.2")
    seen: list[Any] = []
    built(order(), tmp_path / "plans", seen)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {"conversion to fp16", "Building Engine", "Tactics 3"} <= {progress.phase for progress in seen}
    halfway = next(progress for progress in seen if progress.fraction >= 0.5)
    assert halfway.left_seconds == pytest.approx(halfway.elapsed_seconds, rel=0.5)


def test_the_header_says_what_the_conversion_costs(cuda: Any, tmp_path: Path) -> None:
    plan = built(order(), tmp_path / "plans")
    assert plan.about["precision"] == "fp16"
    assert 0 < plan.about["conversion_parity"]["max_abs"] < 1e-3
    assert plan.about["conversion_parity"]["cosine"] > 0.9999
    assert built(order("fp32"), tmp_path / "plans").about["conversion_parity"]["max_abs"] < 1e-6


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


def test_too_little_memory_for_the_build_says_how_much_there_was(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BUILD", "memory")
    with pytest.raises(EngineError, match=r"1073741824 bytes.*8192 MiB of the GPU's 8192 were free"):
        built(order(), tmp_path / "plans")


def test_too_little_memory_for_the_session_says_how_much_is_needed(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CONTEXT_MIB", "4096")
    with pytest.raises(GpuMemoryError, match=r"8192 MiB free of 8192, the engine needs 16384\.0 MiB"):
        open_session(MODEL, "tensorrt")


def test_an_operator_that_is_not_supported_is_named(tmp_path: Path, version: str) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"], name="where_it_is"),
        helper.make_node("Cast", ["places"], ["y"], to=TensorProto.FLOAT),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "odd", [value("x", TensorProto.FLOAT, ["n", 4])], [value("y", TensorProto.FLOAT, ["a", "b"])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    with pytest.MonkeyPatch.context() as patch, faked_gpu(patch, tmp_path, version):
        with pytest.raises(EngineError) as caught:
            built(order("fp32", model), tmp_path / "plans")
        assert "operator NonZero (where_it_is)" in str(caught.value)
        assert "another backend" in str(caught.value)


def test_a_build_can_be_stopped(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_BUILD_SECONDS", "600")
    stop, seen = threading.Event(), _Stopping()
    seen.stop = stop
    with pytest.raises(StoppedError):
        built(order(), tmp_path / "plans", seen, stop=stop)
    assert not list((tmp_path / "plans").glob("*.plan"))


class _Stopping(list[Any]):
    """Stops the build as soon as it has begun."""

    stop: threading.Event

    def append(self, progress: Any) -> None:
        if progress.phase == "Building Engine":
            self.stop.set()


def test_the_timing_cache_is_kept_and_a_damaged_one_does_no_harm(cuda: Any, tmp_path: Path) -> None:
    cache = tmp_path / "plans"
    built(order(), cache)
    (timing,) = cache.glob("timing-*.cache")
    assert timing.read_bytes() == b"TIMED."
    built(order("fp32"), cache)
    assert timing.read_bytes() == b"TIMED.."
    timing.write_bytes(b"nonsense")
    built(order(), cache, force=True)
    assert timing.read_bytes() == b"TIMED."


def test_nothing_is_allocated_after_the_warm_up(cuda: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    allocations, launches = cuda.live.allocations, cuda.live.launches
    for rows in (1, 2, 5, 31, 8, 40) * 5:
        session.run({"face": PICTURES[:rows]})
    assert cuda.live.allocations == allocations
    assert cuda.live.launches > launches, "runs are launches of graphs"
    session.close()


def test_fp32_is_float32_and_not_the_ten_bits_that_tensorrt_takes_for_it(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_GUARD_PRECISION", "fp32")
    with faked_gpu(monkeypatch, tmp_path, version):
        session = open_session(MODEL, "tensorrt")
        np.testing.assert_allclose(session.run({"face": PICTURES})["delta"], reference(PICTURES), atol=1e-6)
        session.close()


def test_what_one_engine_says_is_heard_when_the_engine_before_it_is_gone(cuda: Any) -> None:
    """TensorRT keeps the first logger that it was given, and writes to it for all."""
    first, second = open_session(MODEL, "tensorrt"), open_session(MODEL, "tensorrt")
    first.close()
    del first
    cuda.lose()
    with pytest.raises(EngineError, match="can't run the engine: Error Code 1: Cuda Runtime"):
        second._lanes[1]._context.enqueue(second._stream.handle)  # type: ignore[attr-defined]
    cuda.lose(False)
    second.close()


def test_an_engine_that_can_not_be_captured_runs_without_a_graph(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CAPTURE", "refused")
    session = open_session(MODEL, "tensorrt")
    for rows in (1, 5, 40):
        delta = session.run({"face": PICTURES[:rows]})["delta"]
        np.testing.assert_allclose(delta, reference(PICTURES[:rows]), atol=1e-3)
    assert not cuda.live.launches
    session.close()


def test_a_model_that_is_quantised_already_builds_in_every_version(version: str, tmp_path: Path) -> None:
    from PIL import Image

    from stream_guard.inference.precision import converted

    Image.fromarray((PICTURES[0].transpose(1, 2, 0) * 255).astype(np.uint8)).save(tmp_path / "face.png")
    quantised = converted(MODEL, "int8", tmp_path)
    with pytest.MonkeyPatch.context() as patch, faked_gpu(patch, tmp_path / "plans", version):
        assert built(order("fp16", quantised), tmp_path / "plans").data


def test_a_plan_is_for_pictures_of_one_size(cuda: Any) -> None:
    from stream_guard.inference.reshaping import with_input_shapes

    model, small = with_input_shapes(MODEL, {"face": (-1, 3, -1, -1)}), {"face": (1, 3, 16, 16)}
    assert order(model=model, profiles=[small, small]).key.shapes == "face=1x3x16x16"
    with pytest.raises(EngineError, match="differ in more than the batch"):
        order(model=model, profiles=[small, {"face": (2, 3, 32, 32)}])


def test_a_size_that_stays_open_must_be_said(cuda: Any, tmp_path: Path) -> None:
    from stream_guard.inference.reshaping import with_input_shapes

    model = with_input_shapes(MODEL, {"face": (-1, 3, -1, -1)})
    with pytest.raises(EngineError, match=r"say them with --shapes"):
        order(model=model)
    chosen = order(model=model, profiles=[{"face": (2, 3, 32, 32)}])
    assert built(chosen, tmp_path / "plans").key.shapes == "face=2x3x32x32"


def test_a_session_takes_a_plan_with_other_shapes(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(order(profiles=[{"face": (6, 3, 16, 16)}, {"face": (2, 3, 16, 16)}]), tmp_path / "plans")
    monkeypatch.setenv("FAKE_BUILD", "crash")  # nothing may be built
    session = open_session(MODEL, "tensorrt")
    for rows in (1, 2, 5, 13):
        delta = session.run({"face": PICTURES[:rows]})["delta"]
        np.testing.assert_allclose(delta, reference(PICTURES[:rows]), atol=1e-3)
    session.close()


@pytest.mark.parametrize(
    ("profile", "words"),
    [({"face": (1, 3, 8, 8)}, "takes the shape"), ({"picture": (1, 3, 16, 16)}, "are needed for the inputs")],
)
def test_shapes_that_the_model_does_not_take_are_refused(cuda: Any, profile: Any, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        order(profiles=[profile])


def test_a_plan_that_computes_something_else_is_not_run(cuda: Any, tmp_path: Path) -> None:
    from stream_guard.inference.plans import PlanCache

    made = order()
    wrong = built(order(model=disrupter_model("waves", 16, 8)), tmp_path / "plans")
    PlanCache(tmp_path / "plans").store(made.key, wrong.data, {})
    with pytest.raises(EngineError, match="outputs differ from ONNX Runtime's"):
        open_session(MODEL, "tensorrt")


def test_int8_needs_pictures(cuda: Any, tmp_path: Path) -> None:
    from PIL import Image

    with pytest.raises(EngineError, match="give a folder of faces with --calibration"):
        built(order("int8"), tmp_path / "plans")
    (tmp_path / "faces").mkdir()
    for number, picture in enumerate(PICTURES[:6]):
        Image.fromarray((picture.transpose(1, 2, 0) * 255).astype(np.uint8)).save(tmp_path / f"faces/{number}.png")
    plan = built(order("int8", calibration=tmp_path / "faces"), tmp_path / "plans")
    assert 0 < plan.about["conversion_parity"]["relative"] < 0.1
    proto = onnx.load_model_from_string(_model_of(plan.data))
    assert any(node.op_type == "QuantizeLinear" for node in proto.graph.node)


def _model_of(plan: bytes) -> bytes:
    return plan[12 + int.from_bytes(plan[8:12], "little") :]


def test_feeds_that_do_not_fit_are_refused(cuda: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    with pytest.raises(FeedError, match="must have the shape"):
        session.run({"face": PICTURES[:, :, :8]})
    session.close()


def test_a_lost_gpu_is_an_error_in_words(cuda: Any) -> None:
    session = open_session(MODEL, "tensorrt")
    cuda.lose()
    with pytest.raises(EngineError, match="can't use the GPU: cudaErrorDevicesUnavailable"):
        session.run({"face": PICTURES[:1]})
    session.close()
    cuda.lose(False)


def test_without_a_gpu_it_says_so(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPU_COUNT", "0")
    with pytest.raises(EngineError, match="can't count the GPUs: cudaErrorNoDevice"):
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
