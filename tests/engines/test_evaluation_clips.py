"""Real clips: strangers' pairs are counted apart from those of people that a network learned from."""

import json
from types import SimpleNamespace

import pytest

from engines.evaluation import clips
from engines.evaluation.clips import grouped
from stream_guard.errors import EngineError


def row(seen, pairs, disrupted):
    return {"seen": seen, "generators": {"probe": {"pairs": pairs, "disrupted": disrupted, "l2_mean": disrupted / 10}}}


def test_strangers_are_counted_apart():
    groups = grouped([row(False, 10, 1.0), row(True, 40, 0.0), row(False, 30, 0.5)])
    assert groups["strangers"]["probe"] == {"pairs": 40, "disrupted": 0.625, "l2_mean": 0.0625}
    assert groups["seen"]["probe"]["pairs"] == 40


def test_a_group_without_clips_is_left_out():
    assert list(grouped([row(False, 10, 1.0)])) == ["strangers"]


def test_a_clip_without_a_face_is_left_out_and_does_not_end_the_others(monkeypatch, capsys, tmp_path):
    for name in ("wall.mp4", "ann.mp4"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    def protect(clip, *rest, **options):
        return SimpleNamespace(faces=0)

    figures = {"clip": "ann_clip1", "generators": row(False, 10, 0.5)["generators"]}
    examine = clips.examine
    monkeypatch.setattr(clips, "protect_file", protect)
    monkeypatch.setattr(clips, "read_clips", lambda pack, splits: [SimpleNamespace(person="bob")])
    monkeypatch.setattr(clips, "machine", dict)
    with pytest.raises(EngineError, match="no face was found in any"):
        clips.main(["wall.mp4", "--data", "p"])
    monkeypatch.setattr(clips, "examine", lambda clip, *rest: figures if clip.stem == "ann" else examine(clip, *rest))
    capsys.readouterr()
    clips.main(["wall.mp4", "ann.mp4", "--data", "p"])
    said = capsys.readouterr()
    assert json.loads(said.out)["clips"] == 1
    assert "wall.mp4: no face was found in it; it is left out" in said.err


def test_a_clip_that_is_missing_is_said_before_the_others_are_measured(monkeypatch, capsys):
    monkeypatch.setattr(clips, "read_clips", lambda pack, splits: pytest.fail("it has begun"))
    with pytest.raises(SystemExit):
        clips.main([__file__, "missing.mp4", "--data", "p"])
    assert "there is no missing.mp4" in capsys.readouterr().err


def test_a_person_is_seen_whom_a_network_learned_from_in_any_clip(monkeypatch, capsys, tmp_path):
    """By the person, not by the clip, and by the packs' train split alone."""
    for name in ("ann_clip1.mp4", "bob_clip2.mp4"):
        (tmp_path / name).touch()
    people = {"p": {"train": "bob", "test": "ann"}, "q": {"train": "eve", "test": "ann"}}
    monkeypatch.setattr(
        clips, "read_clips", lambda pack, splits: [SimpleNamespace(person=people[pack.name][s]) for s in splits]
    )
    monkeypatch.setattr(clips, "machine", dict)
    generators = row(False, 10, 0.5)["generators"]
    monkeypatch.setattr(clips, "examine", lambda clip, *rest: {"clip": clip.stem, "generators": generators})
    clips.main([str(tmp_path / "ann_clip1.mp4"), str(tmp_path / "bob_clip2.mp4"), "--data", "p", "q"])
    assert [one["seen"] for one in json.loads(capsys.readouterr().out)["rows"]] == [False, True]
