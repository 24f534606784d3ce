"""The one contract of detectors, and the public layouts that load or are refused."""

from __future__ import annotations

import pytest
import torch

from engines.detectors import resnet, xception
from engines.detectors.architectures import ARCHITECTURES, architecture
from engines.detectors.blocks import adaptive_pool
from engines.detectors.detector import FAKE, REAL, Detector
from stream_guard.errors import EngineError, UsageError

SLIM = {
    "xception": 0.125,
    "dfb_xception": 0.125,
    "resnet18": 0.125,
    "resnet50": 0.125,
    "vgg16": 0.0625,
    "multi_attention": 0.25,
}


def _slim(name) -> Detector:
    torch.manual_seed(0)
    fixed = "meso" in name
    return architecture(name).detector(SLIM.get(name, 1.0), 256 if fixed else 64).eval()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_contract(name):
    detector = _slim(name)
    image = (torch.rand(2, 3, 96, 96) * 2 - 1).requires_grad_()
    logits = detector(image)
    assert logits.shape == (2, 2)
    p_real = detector.p_real(image)
    assert torch.allclose(p_real, logits.softmax(1)[:, REAL])
    p_real.sum().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0


def test_normalisation_and_order_are_inside():
    seen = []

    class Probe(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.tensor([[3.0, -1.0]]).expand(len(x), 2)

    imagenet = Detector(Probe(), "probe", 8, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    image = torch.rand(1, 3, 8, 8)
    assert imagenet(image * 2 - 1)[0, FAKE] == 3
    expected = (image - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    assert torch.allclose(seen[-1], expected, atol=1e-5)
    flipped = Detector(Probe(), "probe", 8, real_first=True)
    assert flipped(image)[0, REAL] == 3
    assert torch.equal(seen[-1], image)


def test_temperature_softens_without_changing_the_answer():
    detector = _slim("resnet18")
    image = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = detector.p_real(image)
        detector.temperature.fill_(4.0)
        after = detector.p_real(image)
    assert ((after - 0.5).abs() < (before - 0.5).abs()).all()
    assert ((after > 0.5) == (before > 0.5)).all()


@pytest.mark.parametrize(("size", "rows"), [(63, 16), (4, 7), (8, 8), (32, 5)])
def test_pooling_equals_torch(size, rows):
    x = torch.rand(2, 3, size, size + 1)
    expected = torch.nn.functional.adaptive_avg_pool2d(x, (rows, rows + 1))
    assert torch.allclose(adaptive_pool(x, rows, rows + 1), expected, atol=1e-6)


def test_torchvision_and_faceforensics_names_load(tmp_path):
    source = resnet.resnet18()
    state = {f"model.{k.replace('fc.', 'fc.1.')}": v for k, v in source.state_dict().items()}
    torch.save(state, tmp_path / "transfer.pth")
    detector, report = architecture("resnet18").load_public(tmp_path / "transfer.pth")
    assert report.ok
    assert not report.extra
    assert torch.equal(detector.network.fc.weight, source.fc.weight)


def test_xception_names_of_both_collections():
    network = xception.Xception(0.125)
    for prefix, head in (("model.", "last_linear.1."), ("module.backbone.", "last_linear.")):
        state = {prefix + k.replace("last_linear.", head): v for k, v in network.state_dict().items()}
        assert list(xception.layout(state)) == list(network.state_dict())
    flat = {"conv3.pointwise.weight": torch.zeros(4, 3)}
    assert xception.layout(flat)["conv3.pointwise.weight"].shape == (4, 3, 1, 1)


def test_another_network_is_named(tmp_path):
    torch.save(_slim("mesonet").network.state_dict(), tmp_path / "meso.pth")
    with pytest.raises(EngineError, match=r"not of (resnet\.)?ResNet: \d+ missing"):
        architecture("resnet18").load_public(tmp_path / "meso.pth")


def test_a_whole_module_is_refused(tmp_path):
    """The public FaceForensics++ Xception is such a pickle."""
    torch.save(_slim("mesonet").network, tmp_path / "whole.p")
    with pytest.raises(EngineError, match="would run code"):
        architecture("xception").load_public(tmp_path / "whole.p")


def test_a_text_file_is_no_keras_file(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "weights.h5").write_text("no")
    with pytest.raises(EngineError, match=r"not an \.h5 file"):
        architecture("mesonet").load_public(tmp_path / "weights.h5")


def test_an_unknown_detector_lists_the_known():
    with pytest.raises(UsageError, match=r"xception"):
        architecture("resnet34")
