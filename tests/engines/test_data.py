"""The data pack and the painted edits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engines.data import clips, edits, media, origin, pack
from engines.data.heads import HEAD_SHARE, Heads, crop, crop_theta
from engines.detectors import deepfakes
from stream_guard.errors import EngineError
from stream_guard.types import Box


def test_a_pack_returns_what_was_packed(packed):
    path, facts = packed
    heads = pack.read(path)
    assert facts["images"] == len(heads) == 12
    assert facts["masks"] == len(pack.read(path, with_mask=True)) == 6
    assert all(h.rgb.shape == (64, 64, 3) for h in heads)
    assert [int(h.mask.max()) for h in heads if h.mask is not None] == [1, 3, 5, 7, 9, 11]
    x0, y0, x1, y1 = heads[0].face
    assert (x1 - x0) / (y1 - y0) == pytest.approx(40 / 50)


def test_a_pack_says_where_its_faces_are_from(packed, tmp_path):
    assert origin.described(packed[0]) == "12 stills of other pictures"
    assert origin.described(packed[0], with_mask=True) == "6 stills with masks of other pictures"
    assert origin.origin_of(Path("/parsing/faces/utkface/of/one.jpg")) == "utkface"
    assert origin.origin_of(Path("/media/parsing/images/parsing")) == "parsing"
    with np.load(packed[0]) as found:
        np.savez(tmp_path / "old.npz", **{k: found[k] for k in found.files if k != "origin"})
    assert "does not say" in origin.described(tmp_path / "old.npz")


def test_splits_are_disjoint_and_by_name(packed):
    names = [{h.name for h in pack.read(packed[0], [split])} for split in pack.SPLITS]
    assert sum(map(len, names)) == 12
    assert all(pack.split_of(name) == split for split, group in zip(pack.SPLITS, names, strict=True) for name in group)


def test_who_is_in_which_split_never_changes():
    """What ships was trained and measured by it: another hash or limit puts people of the one into the other."""
    edges = {name: pack.split_of(name) for name in ("00332", "00129", "00071", "00132")}
    assert list(edges.values()) == ["train", "val", "val", "test"]


def test_what_lies_beyond_the_picture_is_mirrored_on_the_side_where_it_lies():
    picture = Image.fromarray(np.arange(0, 80, 10, dtype=np.uint8)[None, :] + np.arange(8, dtype=np.uint8)[:, None])
    left = np.asarray(pack.cut(picture, Box(-2, 0, 6, 8), 8))
    assert left[0].tolist() == [20, 10, 0, 10, 20, 30, 40, 50]
    below = np.asarray(pack.cut(picture, Box(0, 3, 8, 11), 8))
    assert below[:, 0].tolist() == [3, 4, 5, 6, 7, 6, 5, 4]
    inside = np.asarray(pack.cut(picture, Box(1, 2, 5, 6), 4))
    assert np.array_equal(inside, np.asarray(picture)[2:6, 1:5])


def test_an_unreadable_image_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    with pytest.raises(EngineError, match=r"broken\.jpg is not a readable image"):
        pack.build([(tmp_path / "broken.jpg", None, Box(0, 0, 10, 10))], tmp_path / "p")


@pytest.fixture
def own(tmp_path):
    """A folder with pictures of all sorts, each 60x40 and brighter towards the right."""
    folder = tmp_path / "faces" / "mïne"
    folder.mkdir(parents=True)
    ramp = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    gray, turned = Image.fromarray(ramp), Image.Exif()
    turned[0x0112] = 6
    gray.convert("CMYK").save(folder / "CMYK.JPG")
    gray.rotate(90, expand=True).save(folder / "turned.jpeg", exif=turned)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "deep.png")
    gray.convert("RGBA").save(folder / "clear.webp", lossless=True)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    (folder / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_of_all_sorts_are_read_alike(own):
    shown = [np.asarray(pack.open_picture(p)).astype(int) for p in sorted(own.rglob("*")) if p.stem in SORTS]
    assert [picture.shape for picture in shown] == [(40, 60, 3)] * 4
    assert all(np.abs(picture - shown[-2]).max() < 12 for picture in shown)


SORTS = ("CMYK", "turned", "deep", "clear")


def test_ones_own_pictures_are_packed_and_the_rest_is_said(own, tmp_path, capsys):
    rows = media.listed(own, 0, 0, lambda rgb: None if rgb[0, 0, 1] > 250 else Box(20, 10, 40, 30))
    assert pack.build(rows, tmp_path / "own.pack", size=64)["images"] == 4
    assert {h.name for h in pack.read(tmp_path / "own.pack")} == set(SORTS)
    assert "broken.jpg is not a readable image" in capsys.readouterr().err
    assert not [*media.listed(own, 0, 0, lambda rgb: None)]
    assert "deep.png: no face found" in capsys.readouterr().err


def test_counted_pictures_are_evenly_spaced(tmp_path):
    """Names often begin with what the pictures show (UTKFace: the age), so that the first ones are all of a kind."""
    (tmp_path / "faces" / "utkface").mkdir(parents=True)
    for k in range(10):
        Image.new("RGB", (8, 8)).save(tmp_path / "faces" / "utkface" / f"{k}.png")

    def taken(count):
        return [int(path.stem) for path, _, _ in media.listed(tmp_path, 0, count, lambda rgb: Box(0, 0, 8, 8))]

    assert taken(7) == [0, 1, 2, 4, 5, 7, 8]
    assert taken(2) == [0, 5]
    assert taken(99) == list(range(10))


def test_a_folder_without_pictures_says_where_they_belong(tmp_path):
    with pytest.raises(EngineError, match=r"no pictures in .*images or .*faces"):
        next(media.listed(tmp_path, 1, 1, lambda rgb: None))


def test_a_mask_is_brought_to_its_picture(tmp_path):
    Image.new("RGB", (120, 100)).save(tmp_path / "face.png")
    for name, mask in {
        "half": Image.fromarray(np.pad(np.full((50, 30), 13, np.uint8), ((0, 0), (30, 0)))),
        "colour": Image.new("RGB", (120, 100)),
        "foreign": Image.new("L", (120, 100), 255),
        "turned": Image.new("L", (100, 120)),
    }.items():
        mask.save(tmp_path / f"{name}.png")

    def build(name):
        row = (tmp_path / "face.png", tmp_path / f"{name}.png", Box(40, 30, 80, 80))
        pack.build([row], tmp_path / "p", size=64)
        return pack.read(tmp_path / "p")[0].mask

    columns = build("half")[32]
    assert set(columns[:30]) == {0}
    assert set(columns[34:]) == {13}
    for name, said in (("colour", "mode RGB"), ("foreign", "classes up to 255"), ("turned", "not the same view")):
        with pytest.raises(EngineError, match=said):
            build(name)


def test_a_foreign_file_is_no_pack(tmp_path):
    (tmp_path / "p.pack").write_text("hello")
    with pytest.raises(EngineError, match="engines pack"):
        pack.read(tmp_path / "p.pack")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_pack_that_was_cut_off_is_said(packed, tmp_path, share):
    whole = packed[0].read_bytes()
    (tmp_path / "half.pack").write_bytes(whole[: int(len(whole) * share)])
    for read in (pack.read, clips.read_clips, deepfakes.read):
        with pytest.raises(EngineError, match=r"half\.pack (is not a|holds no) readable"):
            read(tmp_path / "half.pack")


def test_a_pack_that_has_no_room_leaves_the_one_before(packed, tmp_path, monkeypatch):
    before = packed[0].read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EngineError, match=r"faces\.pack: .*No space left"):
        pack.build([(tmp_path / "0.png", None, Box(40, 30, 80, 80))], packed[0], size=64)
    assert packed[0].read_bytes() == before
    assert not [*tmp_path.glob("*.tmp")]


def test_crop_of_the_whole_is_the_image(packed):
    heads = Heads(pack.read(packed[0])[:3], torch.device("cpu"))
    image = heads.rgb.float() / 255
    assert (crop(image, crop_theta(3, 1.0, 0.0, None), 64) - image).abs().max() < 1e-5
    assert HEAD_SHARE < 1


@pytest.fixture
def face():
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 8:20, 12:52], mask[:, 20:56, 16:48] = edits.HAIR, edits.SKIN
    mask[:, 34:40, 30:34], mask[:, 46:49, 26:38] = edits.NOSE, edits.LIPS[0]
    return torch.full((1, 3, 64, 64), 0.5), mask


@pytest.mark.parametrize(
    ("condition", "inside", "outside"),
    [
        ([1, 0, 0, 0.5, 0.5], edits.HAIR, edits.SKIN),
        ([0, 0, 0, 0, 0.5], edits.LIPS[0], edits.HAIR),
        ([0, 0, 0, 0.5, 1], edits.SKIN, edits.HAIR),
    ],
)
def test_an_edit_changes_its_own_region(face, condition, inside, outside):
    rgb, mask = face
    change = (edits.edit(rgb, mask, torch.tensor([condition])) - rgb).abs().mean(1)
    assert change[mask == inside].mean() > 0.04
    assert change[(mask == outside)].median() < 1e-6


def test_unchanged_means_unchanged(face):
    rgb, mask = face
    assert torch.equal(edits.edit(rgb, mask, torch.tensor([[0, 0, 0, 0.5, 0.5]])), rgb)


def test_hair_colours_differ(face):
    rgb, mask = face
    hair = [
        edits.edit(rgb, mask, torch.eye(5)[[k]] * torch.tensor([1, 1, 1, 0, 0]) + torch.tensor([[0, 0, 0, 0.5, 0.5]]))[
            0
        ][:, 12, 30]
        for k in range(3)
    ]
    luma = [float(h.mean()) for h in hair]
    assert luma[0] < luma[2] < luma[1]
