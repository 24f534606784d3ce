"""Classes, regions and the conditional mask tensor."""

from __future__ import annotations

import numpy as np
import pytest

from stream_guard.errors import UnknownNameError, UsageError
from stream_guard.magdr.regions import (
    BISENET_CLASSES,
    CLASSES,
    FROM_BISENET,
    NAMES,
    REGIONS,
    TARGETS,
    conditional_masks,
    region_index,
    targets_of,
)


def test_every_class_belongs_to_one_region() -> None:
    members = [name for part in REGIONS.values() for name in part]
    assert sorted(members) == sorted(CLASSES)
    assert sorted(CLASSES) == sorted(BISENET_CLASSES)
    assert len(CLASSES) == 19


def test_bisenets_order_is_turned_into_ours() -> None:
    assert [BISENET_CLASSES[k] for k in FROM_BISENET] == list(CLASSES)
    assert CLASSES != BISENET_CLASSES


def test_the_masks_sum_to_one_at_each_pixel() -> None:
    scores = np.random.default_rng(0).random((2, 19, 8, 8)).astype(np.float32)
    masks = conditional_masks(scores / scores.sum(1, keepdims=True))
    assert masks.shape == (2, len(NAMES), 8, 8)
    assert np.allclose(masks.sum(1), 1, atol=1e-5)
    assert masks.min() >= 0


def test_a_class_lands_in_its_region() -> None:
    scores = np.zeros((19, 4, 4), np.float32)
    scores[CLASSES.index("u_lip")] = 1
    assert conditional_masks(scores)[NAMES.index("mouth")].min() == 1


def test_other_numbers_of_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="19 classes"):
        conditional_masks(np.zeros((18, 4, 4), np.float32))


def test_the_table_of_edits_names_regions_that_there_are() -> None:
    assert all(set(regions) <= set(NAMES) for regions in TARGETS.values())
    assert all(f"AU{unit}" in TARGETS for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))


def test_edits_by_name() -> None:
    assert targets_of("Blond_Hair") == ("brows", "hair")
    assert targets_of("AU12+AU1") == ("skin", "brows", "mouth")
    assert targets_of("Smile") == targets_of("reenactment")
    with pytest.raises(UsageError):
        targets_of("")
    with pytest.raises(UnknownNameError, match="mouth"):
        region_index("moth")
