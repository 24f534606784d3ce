"""Small networks that learned from made-up pictures, and attacks on them: made once for all tests of this folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.evaluation.detection import networks, perturbed
from engines.evaluation.detection.data import Pictures
from tests.support.tinted import SIZE, part


@pytest.fixture(scope="package")
def pictures() -> Pictures:
    return Pictures(SIZE, part(64, 36, 0), part(16, SIZE, 1), part(16, SIZE, 2), {"made": 5})


@pytest.fixture(scope="package")
def trained(pictures: Pictures) -> list[networks.Trained]:
    quick = {name: replace(networks.RECIPES[name], epochs=3, width=0.0625) for name in ("vgg", "resnet", "blurred")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "RECIPES", quick)
        return [networks.train(name, pictures, batch=16, say=lambda words: None) for name in quick]


@pytest.fixture(scope="package")
def made(
    pictures: Pictures, trained: list[networks.Trained], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], perturbed.Perturbed]:
    folder, effort = tmp_path_factory.mktemp("perturbed"), perturbed.Effort(6, 1, 5, 200.0, 1.0, 3)
    return {
        (t.name, a): perturbed.make(t, pictures.test, a, effort, folder) for t in trained for a in perturbed.ATTACKS
    }
