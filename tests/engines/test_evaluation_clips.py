"""Real clips: strangers' pairs are counted apart from those of people that a network learned from."""

from engines.evaluation.clips import grouped


def row(seen, pairs, disrupted):
    return {"seen": seen, "generators": {"probe": {"pairs": pairs, "disrupted": disrupted, "l2_mean": disrupted / 10}}}


def test_strangers_are_counted_apart():
    groups = grouped([row(False, 10, 1.0), row(True, 40, 0.0), row(False, 30, 0.5)])
    assert groups["strangers"]["probe"] == {"pairs": 40, "disrupted": 0.625, "l2_mean": 0.0625}
    assert groups["seen"]["probe"]["pairs"] == 40


def test_a_group_without_clips_is_left_out():
    assert list(grouped([row(False, 10, 1.0)])) == ["strangers"]
