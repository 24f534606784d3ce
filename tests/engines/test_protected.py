"""Reals as our own protection leaves them: the face sits where the guard region has it, each picture for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.data.protected import Protector, face_of
from stream_guard.errors import EngineError
from stream_guard.types import guard_region
from tests.support.engines import write_disrupter


def pictures(n: int, size: int = 64) -> torch.Tensor:
    return torch.randint(40, 216, (n, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("side", [64, 192, 288])
def test_the_guard_region_of_the_face_is_the_picture(side: int) -> None:
    region = guard_region(face_of(side))
    assert (region.x0, region.y0, region.x1, region.y1) == pytest.approx((0, 0, side, side), abs=1e-6)


def test_pictures_are_changed_within_the_budget_and_each_for_itself(tmp_path: Path) -> None:
    protector = Protector(str(write_disrupter(tmp_path, "follows")))
    x = pictures(3)
    together, alone = protector(x), protector(x[1:2])
    assert together.shape == x.shape
    assert together.dtype == torch.uint8
    assert (together != x).any((1, 2, 3)).all()
    assert torch.equal(together[1:2], alone)
    assert protector.about()["engine"] == "tiny"
    protector.close()


def test_an_engine_that_fails_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    protector = Protector(str(write_disrupter(tmp_path, "nan")))
    with caplog.at_level("CRITICAL", "stream_guard"), pytest.raises(EngineError, match="could not be protected"):
        protector(pictures(1))
    protector.close()
