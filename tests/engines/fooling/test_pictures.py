"""The pictures that networks learn from and are tested on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.evaluation.detection import data
from engines.evaluation.detection.data import Pictures
from stream_guard.errors import EngineError
from tests.support.tinted import SIZE, part


def test_people_of_the_splits_are_apart_and_parts_keep_their_order(pictures: Pictures) -> None:
    x, labels = pictures.test.both()
    assert x.shape == (32, 3, SIZE, SIZE)
    assert labels.tolist() == [1] * 16 + [0] * 16
    assert torch.equal(pictures.test.only_fakes()[0], x[16:])
    assert pictures.test.first(3).names == pictures.test.names[:3]


def test_pictures_survive_the_disk(pictures: Pictures, tmp_path: Path) -> None:
    data.save(pictures, tmp_path / "p.pt")
    found = data.load(tmp_path / "p.pt")
    assert found.made_by == {"made": 5}
    assert torch.equal(found.train.fakes, pictures.train.fakes)
    (tmp_path / "p.pt").write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"holds no pictures .*evaluate detection --steps pictures$"):
        data.load(tmp_path / "p.pt")


def test_people_learnt_from_stand_with_several_edits() -> None:
    one, other = part(4, SIZE, 0), part(4, SIZE, 0)
    other.fakes[:] = 7
    both = data.joined([one, other], torch.Generator().manual_seed(0))
    assert (len(both), both.people) == (8, 4)
    for k, name in enumerate(both.names):
        assert torch.equal(both.reals[k], one.reals[one.names.index(name)])
    assert int((both.fakes == 7).all((1, 2, 3)).sum()) == 4
