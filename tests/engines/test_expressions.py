"""Landmarks, the action units measured on them, and the expressions that are drawn from action units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from engines.data import pack
from engines.data.action_units import (
    MEASURED,
    MIRRORED,
    POINTS,
    UNITS,
    LandmarkFinder,
    action_units,
    condition,
    decode,
    frame_of,
)
from engines.data.expressions import Expression, pixel_grid, pose, spline
from engines.data.heads import Heads, crop_points, crop_theta
from stream_guard.errors import EngineError
from stream_guard.types import Box

EXPRESSIONS = {
    "smile": {12: 0.8, 25: 1.0, 26: 0.2},
    "jaw": {25: 1.0, 26: 1.0},
    "surprise": {1: 1.0, 2: 0.7, 5: 0.8, 25: 1.0, 26: 0.5},
    "sad": {4: 0.7, 15: 0.6},
    "wink": {45: 1.0},
    "narrow": {7: 0.6},
    "tight": {23: 0.5},
    "bared": {10: 0.7, 20: 0.5, 25: 0.9},
}


def test_a_face_at_rest_has_no_units(face):
    assert face.shape == (1, POINTS, 2)
    assert action_units(face).abs().max() < 1e-5


SHIFTS = {
    1: ((20, 21, 22, 23), 1, -0.14),
    2: ((17, 18, 25, 26), 1, -0.14),
    4: ((20, 21, 22, 23), 1, 0.14),
    5: ((37, 38, 43, 44), 1, -0.06),
    7: ((37, 38, 43, 44), 1, 0.03),
    10: ((49, 50, 51), 1, -0.05),
    12: ((58, 62), 1, -0.15),
    15: ((58, 62), 1, 0.15),
    20: ((62,), 0, 0.3),
    23: ((50,), 1, 0.08),
    25: ((63, 64, 65), 1, 0.06),
}
"""The landmarks that a unit moves, the axis (x to the right, y down), and by how many eye distances."""


@pytest.mark.parametrize("unit", SHIFTS)
def test_a_unit_is_what_its_name_says(face, unit):
    """Brows that rise or fall, lids, lips and corners: pose alone could not tell, for it reads the same distances."""
    which, axis, by = SHIFTS[unit]
    moved = face.clone()
    moved[:, which, axis] += by * 0.4  # the drawn face's eyes are so far apart
    shown = dict(zip(UNITS, action_units(moved)[0].tolist(), strict=True))
    assert shown[unit] > 0.3
    assert max((value, other) for other, value in shown.items())[1] == unit


def test_shut_lids_are_no_narrow_ones_and_an_open_jaw_is_more_than_parted_lips(face):
    shut, wide = face.clone(), face.clone()
    shut[:, (37, 38, 43, 44), 1] = shut[:, (41, 40, 47, 46), 1]
    wide[:, (63, 64, 65), 1] += 0.6 * 0.4
    lids, jaw = (dict(zip(UNITS, action_units(posed)[0].tolist(), strict=True)) for posed in (shut, wide))
    assert lids[45] == pytest.approx(1)
    assert lids[7] == pytest.approx(0, abs=1e-5)
    assert jaw[25] == pytest.approx(1)
    assert jaw[26] == pytest.approx(1)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_posed_face_shows_what_was_asked(face, name):
    """The condition of a pair is what its target shows."""
    asked = torch.tensor([condition(EXPRESSIONS[name])])
    shown = action_units(pose(face, asked))
    assert (shown - asked).abs().max() < 0.05
    assert set(EXPRESSIONS[name]) <= set(MEASURED)


def test_an_expression_is_undone_by_asking_for_rest(face):
    posed = pose(face, torch.tensor([condition(EXPRESSIONS["surprise"])]))
    assert action_units(pose(posed, torch.zeros(1, 17))).max() < 0.02


def test_units_ignore_roll_size_place_and_mirroring(face):
    posed = pose(face, torch.tensor([condition({1: 0.6, 12: 0.5, 25: 0.8})]))
    turn = torch.tensor([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]], dtype=torch.float32)
    assert torch.allclose(action_units(posed @ turn * 3 + 7), action_units(posed), atol=1e-4)
    mirrored = (posed * torch.tensor([-1.0, 1.0]))[:, MIRRORED]
    assert torch.allclose(action_units(mirrored), action_units(posed), atol=1e-4)
    assert frame_of(mirrored).axes[0, 0, 0] > 0


def test_units_that_geometry_cannot_tell_move_nothing(face):
    blind = torch.tensor([condition(dict.fromkeys(set(UNITS) - set(MEASURED), 1.0))])
    assert torch.allclose(pose(face, blind), face, atol=1e-5)


def test_the_spline_goes_through_its_points():
    nodes = torch.rand(2, 7, 2, generator=torch.Generator().manual_seed(0))
    values = torch.rand(2, 7, 2, generator=torch.Generator().manual_seed(1)) * 0.1
    assert torch.allclose(spline(nodes, values, nodes), values, atol=2e-3)


def test_the_picture_follows_its_landmarks_and_the_border_stays(face):
    expression = Expression(face, pose(face, torch.tensor([condition(EXPRESSIONS["jaw"])])))
    flow, still = expression.flow(128), pixel_grid(128, face)
    chin = expression.posed[0, 8]
    x, y = ((chin + 1) * 64).long().tolist()
    assert (flow[0, y, x] - face[0, 8]).abs().max() < 0.03
    assert (face[0, 8] - chin).abs().max() > 0.1
    assert (flow - still)[0, 0].abs().max() < 0.03


def test_an_opened_mouth_is_dark_inside_and_nothing_else_changes(face):
    expression = Expression(face, pose(face, torch.tensor([condition(EXPRESSIONS["jaw"])])))
    picture = torch.full((1, 3, 128, 128), 0.6)
    painted = expression.paint_mouth(picture)
    low = expression.posed[0, 64] - torch.tensor([0.0, 0.05])
    x, y = ((low + 1) * 64).long().tolist()
    assert painted[0, :, y, x].mean() < 0.2
    changed = (painted - picture).abs().amax(1)[0] > 0.05
    assert 0.005 < changed.float().mean() < 0.1
    rest = Expression(face, face)
    assert torch.allclose(rest.paint_mouth(picture), picture, atol=1e-3)


def test_points_follow_the_crop_and_its_mirroring(face):
    shares = (face + 1) / 2
    theta = crop_theta(1, 0.5, 0.0, None)
    assert torch.allclose(crop_points(shares, theta), face * 2, atol=1e-5)
    theta[:, 0, 0] *= -1
    assert torch.allclose(crop_points(shares, theta), face * 2, atol=1e-4)  # a symmetrical face


def test_decode_reads_cell_and_offset():
    maps = np.full((198, 28, 28), 0.5, np.float32)
    maps[:66] = 0
    maps[:66, 14, 7] = 0.9
    maps[66:132, 14, 7] = 1 / (1 + np.exp(-0.16))  # a hundredth down
    points, confidence = decode(maps)
    assert points[5] == pytest.approx([7 / 27, 14 / 27 + 0.01], abs=1e-5)
    assert confidence == pytest.approx(0.9)


def test_a_pack_keeps_landmarks_units_and_the_lack_of_them(tmp_path, face):

    for k in range(2):
        Image.fromarray(np.full((60, 60, 3), 90, np.uint8)).save(tmp_path / f"{k}.png")
    answers = iter([((face[0] + 1) / 2).numpy(), None])
    rows = [(tmp_path / f"{k}.png", None, Box(20, 20, 40, 40)) for k in range(2)]
    facts = pack.build(rows, tmp_path / "p", 32, finder=lambda rgb, box: next(answers))
    assert facts["landmarks"] == 1
    heads = Heads(pack.read(tmp_path / "p"), torch.device("cpu"))
    assert torch.allclose(heads.landmarks[0], (face[0] + 1) / 2, atol=1e-3)
    assert heads.action_units[0].max() < 0.1
    assert heads.landmarks[1].isnan().all()
    assert heads.action_units[1].isnan().all()


def test_a_pack_without_landmarks_still_reads(tmp_path):

    Image.fromarray(np.full((60, 60, 3), 90, np.uint8)).save(tmp_path / "0.png")
    pack.build([(tmp_path / "0.png", None, Box(20, 20, 40, 40))], tmp_path / "p", 32)
    (head,) = pack.read(tmp_path / "p")
    assert head.landmarks is None
    assert Heads([head], torch.device("cpu")).landmarks.isnan().all()


def test_another_file_is_no_landmark_model(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(EngineError, match="not a readable landmark model"):
        LandmarkFinder(tmp_path / "m.onnx")


def test_real_landmarks_lie_on_the_face(goldens):
    """OpenSeeFace's own file, on a generated face of the team's media."""
    model = goldens.parent / "weights" / "openseeface_lm66.onnx"
    found = sorted((goldens.parent / "media" / "faces" / "synthetic").rglob("*.jpg"))
    if not model.exists() or not found:
        pytest.skip("no landmark model or media at hand")

    rgb = np.asarray(Image.open(found[0]).convert("RGB"))
    points = LandmarkFinder(model)(rgb, (0.25, 0.25, 0.75, 0.85))
    assert points is not None
    left, right, nose, chin = points[36:42].mean(0), points[42:48].mean(0), points[30], points[8]
    assert left[0] < nose[0] < right[0]
    assert max(left[1], right[1]) < nose[1] < chin[1]
