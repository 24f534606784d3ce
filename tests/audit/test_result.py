"""What an audit's figures come to."""

from __future__ import annotations

import pytest

from stream_guard.audit.result import AuditResult, Clip


@pytest.mark.parametrize(
    ("shares", "worst"), [([0.9, 0.4], 0.4), ([0.9, None], None), ([None, 0.9], None), ([None], None), ([], None)]
)
def test_a_generator_that_met_no_face_leaves_no_worst_share(shares: list[float | None], worst: float | None) -> None:
    clip = Clip("a.mp4", "", 1.0)
    generators = {str(k): {"disrupted": share} for k, share in enumerate(shares)}
    assert AuditResult({"generators": generators}, clip, clip, None).worst_share() == worst
