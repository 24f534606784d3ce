"""The GPU benchmark runs on the processor, and its bound is counted right; how fast anything is, no test says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.evaluation import benchmark_gpu as bench
from engines.evaluation.network_cost import network_cost
from tests.support.engines import write_disrupter


def model(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], out: list[str | int | None]) -> bytes:
    made = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        made,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    data: bytes = proto.SerializeToString()
    return data


def test_a_convolution_is_counted_by_hand() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    cost = network_cost(model(nodes, {"w": (5, 3, 3, 3)}, ["n", 5, 8, 8]), batch=2)
    given = 2 * 5 * 8 * 8
    assert cost.flops == 2 * given * 27 + given
    assert cost.weights == 135
    assert cost.ends == 2 * 3 * 64 + given
    assert cost.between == 2 * 3 * 64 + 3 * given


def test_the_bound_is_the_slower_of_arithmetic_and_memory() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    seconds = network_cost(model(nodes, {}, ["n", 3, 8, 8]), 1).bound_seconds(192, 768, 2)
    assert seconds == {"arithmetic": 1.0, "memory": 1.0, "memory_unfused": 1.0}


def test_it_prints_json_on_the_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = str(write_disrupter(tmp_path, "follows"))
    words = f"--device cpu --engine {engine} --batches 2 --repeats 1 --seconds 0 --peak-tflops 1 --peak-gigabytes 10"
    bench.main(f"{words} --streams 1 --clip-seconds 0.2 --size 320 180".split())
    found = json.loads(capsys.readouterr().out)
    assert {"pgd10", "torch_eager_float32", "onnxruntime", "picture_path"} <= set(found["microseconds_a_face"]["2"])
    assert all(v["least"] <= v["median"] <= v["most"] for v in found["microseconds_a_face"]["2"].values())
    assert found["bound"]["2"]["larger"] > 0
    assert set(found["times_the_bound"]["2"]) >= {"torch_eager_float32", "onnxruntime"}
    assert found["pgd10_over"]["2"]["pgd10"] == 1
    assert list(found["streams"]["none"]["fps"]) == ["1"]


def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="--device cpu"):
        bench.main([])
