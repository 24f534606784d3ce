"""What operations change of inputs and outputs."""

from __future__ import annotations

import numpy as np
import pytest

from stream_guard.magdr.sensitivity import BLOCK, CHANGES, LEAST, changes

RNG = np.random.default_rng(0)
SIDE = 4 * BLOCK


def pictures(count: int) -> np.ndarray:
    return RNG.uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32)


def test_one_row_an_operation() -> None:
    inputs, outputs = pictures(4), pictures(4)
    found = changes(inputs, outputs)
    assert found.shape == (3, len(CHANGES))
    after = [float(np.sqrt(np.mean((one - outputs[0]) ** 2))) for one in outputs[1:]]
    before = [float(np.sqrt(np.mean((one - inputs[0]) ** 2))) for one in inputs[1:]]
    assert found[:, 0] == pytest.approx(after, rel=1e-5)
    assert found[:, 1] == pytest.approx([a / (b + LEAST) for a, b in zip(after, before, strict=True)], rel=1e-5)


def test_low_frequencies_are_what_blocks_have_in_common() -> None:
    outputs = np.zeros((2, 3, SIDE, SIDE), np.float32)
    outputs[1] = 0.5  # the same everywhere
    assert changes(outputs, outputs)[0] == pytest.approx([0.5, 1, 0.5, 1], rel=1e-3)
    outputs[1, :, ::2] = -0.5  # stripes that cancel within a block
    assert changes(outputs, outputs)[0, [0, 2]] == pytest.approx([0.5, 0.0], abs=1e-6)


def test_an_operation_that_changes_nothing_divides_by_nothing() -> None:
    inputs = np.repeat(pictures(1), 2, 0)
    assert np.array_equal(changes(inputs, inputs), np.zeros((1, len(CHANGES))))
