"""TensorRT's builder on a stand-in of it: every version's rules, and everything that goes wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stream_guard.errors import EngineError, StoppedError
from stream_guard.inference import open_session

from ..support.gpu import faked_gpu
from .tensorrt_orders import MODEL, PICTURES, built, model_of, order, reference


def test_every_version_builds_and_runs(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with faked_gpu(monkeypatch, tmp_path, version) as runtime:
        session = open_session(MODEL, "tensorrt")
        for rows in (1, 3, 8, 40):
            delta = session.run({"face": PICTURES[:rows]})["delta"]
            np.testing.assert_allclose(delta, reference(PICTURES[:rows]), atol=1e-3)
        session.close()
        assert not runtime.live.device


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


def test_too_little_memory_for_the_build_says_how_much_there_was(
    cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BUILD", "memory")
    with pytest.raises(EngineError, match=r"1073741824 bytes.*8192 MiB of the GPU's 8192 were free"):
        built(order(), tmp_path / "plans")


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


def test_a_model_that_is_quantised_already_builds_in_every_version(version: str, tmp_path: Path) -> None:
    from PIL import Image

    from stream_guard.inference.precision import converted

    Image.fromarray((PICTURES[0].transpose(1, 2, 0) * 255).astype(np.uint8)).save(tmp_path / "face.png")
    quantised = converted(MODEL, "int8", tmp_path)
    with pytest.MonkeyPatch.context() as patch, faked_gpu(patch, tmp_path / "plans", version):
        assert built(order("fp16", quantised), tmp_path / "plans").data


def test_a_size_that_stays_open_must_be_said(cuda: Any, tmp_path: Path) -> None:
    from stream_guard.inference.reshaping import with_input_shapes

    model = with_input_shapes(MODEL, {"face": (-1, 3, -1, -1)})
    with pytest.raises(EngineError, match=r"say them with --shapes"):
        order(model=model)
    chosen = order(model=model, profiles=[{"face": (2, 3, 32, 32)}])
    assert built(chosen, tmp_path / "plans").key.shapes == "face=2x3x32x32"


@pytest.mark.parametrize(
    ("profile", "words"),
    [({"face": (1, 3, 8, 8)}, "takes the shape"), ({"picture": (1, 3, 16, 16)}, "are needed for the inputs")],
)
def test_shapes_that_the_model_does_not_take_are_refused(cuda: Any, profile: Any, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        order(profiles=[profile])


def test_int8_needs_pictures(cuda: Any, tmp_path: Path) -> None:
    from PIL import Image

    with pytest.raises(EngineError, match="give a folder of faces with --calibration"):
        built(order("int8"), tmp_path / "plans")
    (tmp_path / "faces").mkdir()
    for number, picture in enumerate(PICTURES[:6]):
        Image.fromarray((picture.transpose(1, 2, 0) * 255).astype(np.uint8)).save(tmp_path / f"faces/{number}.png")
    plan = built(order("int8", calibration=tmp_path / "faces"), tmp_path / "plans")
    assert 0 < plan.about["conversion_parity"]["relative"] < 0.1
    proto = onnx.load_model_from_string(model_of(plan.data))
    assert any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
