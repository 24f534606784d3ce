"""A stand-in for TensorRT and CUDA, in each version, that must be left with nothing allocated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.gpu import VERSIONS, faked_gpu


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with faked_gpu(monkeypatch, tmp_path / "plans") as runtime:
        yield runtime
        left = (runtime.live.device, runtime.live.host, runtime.live.streams, runtime.live.graphs)
        assert not any(left)
