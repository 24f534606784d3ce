"""From torch to the zoo: parity, dynamic batch, a card that the runtime accepts."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import nn

from engines import export, importing
from engines.detectors.architectures import architecture
from engines.disrupter.network import GRID, SIZE, Disrupter
from engines.generators.stargan import Generator
from stream_guard.errors import EngineError
from stream_guard.inference import open_session
from stream_guard.inference.card import load_card
from stream_guard.inference.reshaping import unpacked

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*instance_norm.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def _card(**changes):
    tensor = {"shape": [-1, 3, SIZE, SIZE], "range": [0, 1], "meaning": "RGB"}
    return {
        "name": "p",
        "kind": "disrupter",
        "title": "a disrupter",
        "file": "model.onnx",
        "opset": export.OPSET,
        "licence": "Apache-2.0",
        "epsilon": 8 / 255,
        "inputs": [{"name": "face", **tensor}],
        "outputs": [{"name": "delta", "shape": [-1, 3, GRID, GRID], "meaning": "YCbCr"}],
        "results": {"of": 'a "quoted" word'},
    } | changes


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_disrupter_is_the_same_in_the_runtime(tmp_path, backend):
    pytest.importorskip(backend)
    torch.manual_seed(0)
    network = Disrupter(8 / 255, 8, psnr_db=50.0).eval()  # so low a budget that what holds it is at work
    export.to_onnx(network, {"face": torch.rand(2, 3, SIZE, SIZE)}, "delta", tmp_path / "model.onnx")
    export.write_card(tmp_path, _card())
    card = load_card(tmp_path)
    assert card.epsilon == pytest.approx(8 / 255)
    session = open_session(card, backend)
    for n in (1, 3):
        face = torch.rand(n, 3, SIZE, SIZE)
        with torch.no_grad():
            expected = network(face).numpy()
        got = session.run({"face": face.numpy()})["delta"]
        np.testing.assert_allclose(got, expected, atol=2e-4)
    session.close()


def test_the_generator_keeps_its_own_statistics(tmp_path):
    """Instance norm as the official solver runs it: each image by itself, also in the exported eval mode."""
    torch.manual_seed(0)
    network = Generator(8).train()
    x, c = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 5)
    with torch.no_grad():
        expected = network(x, c)
    network = export.use_instance_statistics(network)
    with torch.no_grad():
        assert torch.allclose(network(x, c), expected, atol=1e-5)
    assert export.to_onnx(network, {"image": x, "condition": c}, "edited", tmp_path / "g.onnx") < export.PARITY_ATOL


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_large_file_keeps_half_weights_and_computes_in_float32(tmp_path, monkeypatch, backend):
    pytest.importorskip(backend)
    torch.manual_seed(0)
    network = Disrupter(8 / 255, 8, psnr_db=50.0).eval()
    faces = {"face": torch.rand(2, 3, SIZE, SIZE)}
    exact = export.to_onnx(network, faces, "delta", tmp_path / "whole.onnx")
    monkeypatch.setattr(export, "LARGEST_BYTES", 1000)
    rounded = export.to_onnx(network, faces, "delta", tmp_path / "model.onnx")
    assert exact < rounded < export.PACKED_ATOL
    export.write_card(tmp_path, _card())
    card = load_card(tmp_path)
    model = card.model_path.read_bytes()
    assert len(model) < 0.75 * (tmp_path / "whole.onnx").stat().st_size
    plain = unpacked(model)
    assert {w.data_type for w in plain.graph.initializer} & {TensorProto.FLOAT, TensorProto.FLOAT16} == {
        TensorProto.FLOAT
    }
    (expected,) = onnxruntime.InferenceSession(plain.SerializeToString()).run(None, {"face": faces["face"].numpy()})
    session = open_session(card, backend)
    np.testing.assert_allclose(session.run({"face": faces["face"].numpy()})["delta"], expected, atol=2e-4)
    session.close()


def test_half_weights_come_back_from_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST_BYTES", 1000)
    detector = architecture("resnet18").detector(0.125, 64).eval()
    image = torch.rand(4, 3, 64, 64) * 2 - 1
    export.to_onnx(detector, {"image": image}, "logits", tmp_path / "model.onnx")
    other = architecture("resnet18").detector(0.125, 64).eval()
    importing.fill(other, tmp_path / "model.onnx", (image,))
    assert export.parity(other, {"image": image}, tmp_path / "model.onnx") < export.PARITY_ATOL


def test_a_network_that_does_not_export_alike_is_refused(tmp_path):
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    with pytest.raises(EngineError, match="differs from torch"):
        export.to_onnx(Fickle(), {"x": torch.rand(2, 3)}, "y", tmp_path / "f.onnx")
    assert not list(tmp_path.iterdir())
