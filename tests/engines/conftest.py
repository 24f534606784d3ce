"""Packs, faces and people to try the research tools on, and the conformance pack.

The pack is beside the checkout where the team works; elsewhere the tests that need it skip.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from stream_guard.types import Box

torch = pytest.importorskip("torch", reason="the research tests need torch: pip install stream-guard[train]")
torch.set_num_threads(1)  # threads of several tests at once wait for each other and do little else

from engines.data import pack  # noqa: E402 - after it is known that torch is there
from engines.magdr.faces import Split  # noqa: E402

GOLDENS = Path(__file__).resolve().parents[3] / "shared" / "goldens"


@pytest.fixture(scope="session")
def goldens() -> Path:
    if not GOLDENS.is_dir():
        pytest.skip("the conformance pack is not at hand")
    return GOLDENS


@pytest.fixture(scope="session")
def fill_rule(goldens: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_rule", goldens / "fill_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packed(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for k in range(12):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
            (120, 100), Image.Resampling.BICUBIC
        )
        coarse.save(tmp_path / f"{k}.png")
        mask = None
        if k % 2:
            mask = tmp_path / f"{k}.mask.png"
            Image.fromarray(np.full((100, 120), k, np.uint8)).save(mask)
        rows.append((tmp_path / f"{k}.png", mask, Box(40, 30, 80, 80)))
    facts = pack.build(rows, tmp_path / "faces.pack", size=64)
    return tmp_path / "faces.pack", facts


@pytest.fixture
def face():
    """(1, 66, 2) in [-1, 1]: a drawn, symmetrical face at rest, eyes 0.4 apart."""
    jaw = [(-np.cos(a), 0.25 + 1.4 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    brow = [(0.25 + 0.13 * k, -0.385 + 0.03 * (k - 2) ** 2) for k in range(5)]
    nose = [(0, -0.05 + 0.2 * k) for k in range(4)] + [((k - 2) * 0.1, 0.62) for k in range(5)]
    eye = [(0.3, 0.0), (0.43, -0.057), (0.57, -0.057), (0.7, 0.0), (0.57, 0.057), (0.43, 0.057)]
    upper = [(-0.25, 0.84), (-0.1, 0.81), (0, 0.82), (0.1, 0.81), (0.25, 0.84)]
    lower = [(0.25, 1.0), (0.1, 1.04), (0, 1.05), (-0.1, 1.04), (-0.25, 1.0)]
    inner = [(-0.4, 0.91), (-0.15, 0.92), (0, 0.92), (0.15, 0.92), (0.4, 0.91)]
    inner += [(0.15, 0.94), (0, 0.94), (-0.15, 0.94)]
    left_eye = [(-x, y) for x, y in (eye[3], eye[2], eye[1], eye[0], eye[5], eye[4])]
    points = [*jaw, *((-x, y) for x, y in brow[::-1]), *brow, *nose, *left_eye, *eye, *upper, *lower, *inner]
    return torch.tensor(points, dtype=torch.float32)[None] * 0.4


@pytest.fixture
def faces(tmp_path, face):
    """A pack of twelve heads, all with the drawn face's landmarks."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(12):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((120, 120), Image.Resampling.BICUBIC).save(tmp_path / f"{k}.png")
        rows.append((tmp_path / f"{k}.png", None, Box(40, 30, 80, 80)))
    points = ((face[0] * 0.7 + 1) / 2).numpy()
    pack.build(rows, tmp_path / "faces.pack", 96, finder=lambda rgb, box: points)
    return tmp_path / "faces.pack"


@pytest.fixture
def people() -> Split:
    images = torch.rand(5, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return Split([f"p{k}" for k in range(5)], images, size=64)
