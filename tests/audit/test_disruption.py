"""The L2 criterion and the interval around the share."""

from __future__ import annotations

import numpy as np
import pytest

from stream_guard.audit.disruption import DisruptionTally, l2
from stream_guard.audit.interval import share_interval, wilson


def test_l2_is_the_mean_squared_error_on_minus_one_to_one() -> None:
    a = np.zeros((2, 3, 4, 4), np.float32)
    b = a.copy()
    b[1] += 0.5
    assert l2(b, a).tolist() == [0.0, 0.25]


def test_the_threshold_itself_counts() -> None:
    tally = DisruptionTally()
    tally.add(1, 0.0, np.array([0.05, 0.0499, 1.0, 0.0]))
    assert tally.pairs == 4
    assert tally.share == 0.5
    assert tally.summary()["l2_mean"] == pytest.approx((0.05 + 0.0499 + 1) / 4)


def test_the_face_that_is_protected_least_is_named() -> None:
    tally = DisruptionTally()
    tally.add(7, 0.0, np.array([1.0, 1.0]))
    tally.add(9, 0.0, np.array([1.0, 0.0]))
    assert tally.worst_track() == {"track": 9, "disrupted": 0.5}
    assert DisruptionTally().worst_track() is None


def test_the_timeline_is_the_mean_of_a_frame() -> None:
    tally = DisruptionTally()
    tally.add(2, 1.0, np.array([0.2, 0.4]))
    tally.add(1, 0.5, np.array([0.1]))
    tally.add(3, 1.0, np.array([0.6]))
    assert tally.points() == [(0.5, pytest.approx(0.1)), (1.0, pytest.approx(0.45))]


def test_nothing_measured_says_so() -> None:
    assert DisruptionTally().summary() == {"pairs": 0, "disrupted": None, "l2_mean": None, "ci95": None}


def test_wilson_against_published_values() -> None:
    low, high = wilson(0.1, 30)  # 3 of 30: Newcombe's interval
    assert (low, high) == (pytest.approx(0.0346, abs=1e-4), pytest.approx(0.2562, abs=1e-4))


def test_independent_pairs_give_wilsons_interval() -> None:
    outcomes = [(i, i % 2 == 0) for i in range(100)]
    low, high = share_interval(outcomes) or (0, 0)
    assert (low, high) == (pytest.approx(wilson(0.5, 99)[0], abs=1e-2), pytest.approx(wilson(0.5, 99)[1], abs=1e-2))


def test_pairs_that_say_the_same_within_a_cluster_count_once() -> None:
    same = share_interval([(i // 10, i // 10 % 2 == 0) for i in range(100)])
    alone = share_interval([(i, i % 2 == 0) for i in range(10)])
    assert same == (pytest.approx((alone or (0, 0))[0]), pytest.approx((alone or (0, 0))[1]))


def test_all_disrupted_is_not_certainty() -> None:
    assert share_interval([(0, True)] * 50) == (pytest.approx(wilson(1, 1)[0]), 1.0)
    low, high = share_interval([(i // 5, True) for i in range(50)]) or (0, 0)
    assert 0.6 < low < 0.8
    assert high == pytest.approx(1.0)


def test_clusters_that_agree_in_part_count_for_part_of_their_pairs() -> None:
    """Shares of 1, .5, 0 and .5 in pairs of pairs: a variance of 4/3 * 2 / 64, as six independent ones would have."""
    found = share_interval(zip("aabbccdd", (1, 1, 1, 0, 0, 0, 1, 0), strict=True))
    assert found == pytest.approx(wilson(0.5, 6))


def test_no_pairs_no_interval() -> None:
    assert share_interval([]) is None


def test_the_interval_covers_what_it_claims() -> None:
    """Clustered draws of a known share: the interval holds it about as often as it says, not less."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        shares = rng.beta(2, 1, size=20)
        outcomes = [(i, bool(rng.random() < share)) for i, share in enumerate(shares) for _ in range(8)]
        low, high = share_interval(outcomes) or (0, 0)
        hits += low <= 2 / 3 <= high
    assert hits >= 0.92 * 300
