"""`evaluate delivered`: what it says of a folder without faces, and that the strength reaches the stage."""

import numpy as np
import pytest
from PIL import Image

from engines.data.pack import split_of
from engines.evaluation import run
from engines.evaluation.asked import probe_of
from engines.evaluation.delivered import Still
from stream_guard.errors import EngineError
from stream_guard.inference import find_engine
from stream_guard.talking_head import portrait
from stream_guard.types import Box
from tests.support.targets import amplifier


def test_a_folder_without_faces_is_refused_in_words(tmp_path):
    with pytest.raises(EngineError, match="the folder above parsing"):
        run.held_out(tmp_path, 4, 0)


def test_a_picture_that_cannot_be_read_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    """And one that lies on its side by its EXIF data is looked at upright."""
    images = tmp_path / "parsing" / "images"
    images.mkdir(parents=True)
    good, bad = [name for name in map(str, range(100)) if split_of(name) == "test"][:2]
    (images / f"{bad}.jpg").write_bytes(b"no picture")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20)).save(images / f"{good}.jpg", exif=turned)
    monkeypatch.setattr(run, "still_detector", lambda: lambda rgb: Box(0, 0, rgb.shape[1], rgb.shape[0]))
    (still,) = run.held_out(tmp_path, 2, 0)
    assert (still.name, still.rgb.shape, still.face) == (good, (40, 20, 3), Box(0, 0, 20, 40))
    assert f"{bad}.jpg is not a readable image" in capsys.readouterr().err


def test_less_strength_is_less_to_see():
    """Without faces to bound there is no bound, and a weaker perturbation has the higher PSNR."""
    picture = portrait().resize((256, 256), Image.Resampling.BICUBIC)
    still = Still("portrait", np.asarray(picture.convert("RGB")), Box(70, 50, 190, 200))
    target = amplifier()
    asked = [(target, probe_of("amplifier", target, "Amplifier"))]
    found = [run.table([still], 0, asked, [128], [20], 0, strength=strength) for strength in (1.0, 0.5)]
    assert {(rows[0]["generator"], rows[0]["title"]) for rows in found} == {("amplifier", "Amplifier (surrogate)")}
    strong, weak = (rows[0]["disrupter"]["face_psnr_db"] for rows in found)
    assert 5.0 < weak - strong < 7.0
    assert all("on_bound_faces" not in rows[0] for rows in found)


def test_pgd_10_and_the_bound_are_given_the_budget_of_the_disrupter(monkeypatch):
    """The bound has its hard bound and grid too.

    PGD-10's box is 1.18 times the budget's root mean square, on images in [-1, 1]: 2 * 1.18 * 10 ** (-38.15 / 20).
    """
    given, reach = [], {}
    monkeypatch.setattr(run.methods, "bound", lambda *words, **named: reach.update(named) or [])
    monkeypatch.setattr(run.methods, "pgd10", lambda still, target, rows, epsilon: given.append(epsilon))
    still = Still("portrait", np.asarray(portrait().resize((256, 256)).convert("RGB")), Box(70, 50, 190, 200))
    target = amplifier()
    run.table([still], 1, [(target, probe_of("amplifier", target, "Amplifier"))], [], [], 0)
    assert given == [pytest.approx(2 * 1.18 * 10 ** (-38.15 / 20), rel=1e-3)]
    card = find_engine(None, "disrupter")
    assert (reach["psnr_db"], reach["epsilon"]) == (38.15, card.epsilon)
    assert card.outputs[0].shape == (-1, 3, reach["grid"], reach["grid"])
