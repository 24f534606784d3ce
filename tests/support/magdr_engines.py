"""A face parser, a probe and a calibration made on the spot, which know bright, striped faces as perturbed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from stream_guard.magdr.regions import CLASSES, NAMES
from stream_guard.magdr.sensitivity import CHANGES
from stream_guard.magdr.views import METRICS

from .probes import write_probe

SIZE = 128
PROBE = "contrast"


def write_parser(folder: Path, *, faces: bool = True) -> Path:
    """A parser that sees the same face in every crop: bands of each class, or nothing but background."""
    folder.mkdir(parents=True, exist_ok=True)
    masks = np.zeros((1, len(CLASSES), SIZE, SIZE), np.float32)
    bands = ["hair", "l_brow", "l_eye", "nose", "mouth", "skin", "neck", "background"] if faces else ["background"]
    step = SIZE // len(bands)
    for k, name in enumerate(bands):
        masks[0, CLASSES.index(name), k * step : SIZE if k == len(bands) - 1 else (k + 1) * step] = 1
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "bands"], ["masks"]),
    ]
    for name, factor in (("low", 4), ("deep", 16), ("last", 2)):
        nodes += [
            helper.make_node("AveragePool", ["image"], [f"{name}_p"], kernel_shape=[factor] * 2, strides=[factor] * 2),
            helper.make_node("Add", [f"{name}_p", "two"], [name]),
        ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "zero": np.float32(0),
        "two": np.float32(2),
        "bands": masks,
    }
    outputs = {"masks": (len(CLASSES), SIZE), "low": (3, SIZE // 4), "deep": (3, SIZE // 16), "last": (3, SIZE // 2)}
    graph = helper.make_graph(
        nodes,
        "parser",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, s, s]) for n, (c, s) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    (folder / "card.toml").write_text(
        f"""
name = "bands"
kind = "parser"
title = "A parser that sees bands"
file = "model.onnx"
sha256 = "{hashlib.sha256(data).hexdigest()}"
opset = 18
licence = "Apache-2.0"
inputs = [{{name = "image", shape = [-1, 3, {SIZE}, {SIZE}]}}]
outputs = [{{name = "masks", shape = [-1, {len(CLASSES)}, {SIZE}, {SIZE}]}}]
""",
        encoding="utf-8",
    )
    return folder


def write_inputs(folder: Path, calibration: Path, *, level: float = 0.0) -> Path:
    """A detector of perturbed inputs that takes bright faces for perturbed, and its place in the calibration.

    Its log-odds are 20 times the mean of the picture in [-1, 1]; `level` is the threshold on that mean.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "gains"], ["logits"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "last": np.array([1], np.int64),
        "gains": np.array([[20, 0]], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "inputs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = model.SerializeToString()
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / "model.onnx").write_bytes(data)
    (folder / "card.toml").write_text(
        f"""
name = "bright"
kind = "perturbation"
title = "Takes bright faces for perturbed"
file = "model.onnx"
sha256 = "{sha256}"
opset = 18
licence = "Apache-2.0"
inputs = [{{name = "image", shape = [-1, 3, {SIZE}, {SIZE}]}}]
outputs = [{{name = "logits", shape = [-1, 2]}}]
""",
        encoding="utf-8",
    )
    with calibration.open("a", encoding="utf-8") as file:
        file.write(f'[inputs]\nengine = "{folder}"\nsha256 = "{sha256}"\nthreshold = {20 * level}\n')
    return folder


def write_engines(folder: Path, *, faces: bool = True, threshold: float = 0.0) -> dict[str, Path]:
    """`parser`, `probe` and the file `calibration` that fits them: only what operations change of the output counts."""
    parser = write_parser(folder / "parser", faces=faces)
    probe = write_probe(folder / "probe", gain=1.0, size=SIZE)
    shas = [hashlib.sha256((p / "model.onnx").read_bytes()).hexdigest() for p in (probe, parser)]
    first = [1.0] + [0.0] * (len(METRICS) - 1)
    output = [0.25] + [0.0] * (len(CHANGES) - 1)
    nothing, ones = ([[[value] * len(METRICS)] * len(NAMES)] for value in (0.0, 1.0))
    calibration = folder / "magdr.toml"
    calibration.write_text(
        f"""
[probes.{PROBE}]
probe_sha256 = "{shas[0]}"
parser_sha256 = "{shas[1]}"
conditions = ["As it is"]
operations = 4
balance = 0.0
threshold = {threshold}
threshold_distortion = 0.5
threshold_consistency = 0.5
slope = 20.0
[probes.{PROBE}.distortion]
middle = {nothing}
width = {ones}
weights = {[[first] * len(NAMES)]}
[probes.{PROBE}.consistency]
middle = {[[[-3.0] * len(CHANGES)] * 4]}
width = {[[[0.3] * len(CHANGES)] * 4]}
weights = {[[output] * 4]}
""",
        encoding="utf-8",
    )
    return {"parser": parser, "probe": probe, "calibration": calibration}
