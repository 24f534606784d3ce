"""The conformance pack is beside the checkout where the team works; elsewhere these tests skip."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch", reason="the research tests need torch: pip install stream-guard[train]")
torch.set_num_threads(1)  # threads of several tests at once wait for each other and do little else

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
