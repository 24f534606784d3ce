"""What a frame falls short of: the pipeline's promise, where it makes one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from av.video.reformatter import Colorspace

from stream_guard.config import OnFailure
from stream_guard.errors import UnprotectedError
from stream_guard.policy import FACES_UNKNOWN, NOT_PROTECTED, FailurePolicy, shortfall
from stream_guard.types import Box, Face, Frame

from .support.fakes import frame, mean_level, picture

FACE = Face(1, Box(1, 1, 9, 9), 0.9)


def known(*faces: Face) -> Frame:
    return replace(frame(0, 180), faces=faces, faces_known=True)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (frame(0), FACES_UNKNOWN),
        (known(), None),
        (known(FACE.protected()), None),
        (known(FACE), NOT_PROTECTED),
        (known(FACE.protected(), FACE.unprotected("too_small")), "too_small"),
        (known(FACE.protected(), FACE.unprotected("no_change"), FACE.unprotected("too_small")), "no_change"),
    ],
)
def test_a_pipeline_that_protects_answers_for_every_face(shown: Frame, reason: str | None) -> None:
    assert shortfall(shown, protects=True) == reason
    assert shortfall(shown, protects=False) is None


@pytest.mark.parametrize("rule", OnFailure)
def test_a_pipeline_that_only_looks_lets_faces_leave_as_they_are(rule: OnFailure) -> None:
    policy, shown = FailurePolicy(rule, protects=False), known(FACE)
    before = mean_level(shown)
    assert policy.apply(shown) is None
    assert mean_level(shown) == before


def test_what_never_saw_the_stages_is_held_back_by_either() -> None:
    for protects in (True, False):
        shown = known()
        assert FailurePolicy(OnFailure.BLACK, protects).apply(shown, "engine_failed") == "engine_failed"
        assert mean_level(shown) < 5
        with pytest.raises(UnprotectedError):
            FailurePolicy(OnFailure.DISCONNECT, protects).apply(known(), "engine_failed")


def test_a_safe_picture_of_another_matrix_is_not_shown_in_place_of_a_face() -> None:
    """Its samples would mean other colours there."""
    policy, safe, faulty = FailurePolicy(OnFailure.BLOCK, protects=True), known(), known(FACE)
    safe.picture.colorspace, faulty.picture.colorspace = Colorspace.ITU709, Colorspace.SMPTE170M
    assert policy.apply(safe) is None
    assert policy.apply(faulty) == NOT_PROTECTED
    assert mean_level(faulty) < 5


def test_a_safe_picture_of_another_shape_is_not_shown_in_place_of_a_face() -> None:
    policy, wide = FailurePolicy(OnFailure.BLOCK, protects=True), known(FACE)
    assert policy.apply(replace(known(), picture=picture(180, width=32))) is None
    assert policy.apply(wide) == NOT_PROTECTED
    assert wide.width == 64
    assert mean_level(wide) < 5
