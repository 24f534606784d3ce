"""The figures of the tables against cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.data.heads import crop
from engines.evaluation import figures, identity_network
from engines.evaluation.channels import CHANNELS, STANDARD, can_encode, channels
from engines.evaluation.delivered import Still, clip, measure, to_bt709
from engines.evaluation.deliveries import Deliveries, Treated, Treatment, tight
from engines.evaluation.identity_network import _theta
from engines.evaluation.methods import fixed
from engines.evaluation.motion import BLOCK, REACH, block_motion, warped
from engines.evaluation.tables.document import problems
from engines.evaluation.tables.flicker import Watched, energy
from stream_guard.audit.probes import load_probes
from stream_guard.errors import UsageError
from stream_guard.media import pixels
from stream_guard.types import Box, Face, guard_region, head_region
from tests.support.probes import write_probe


def test_l2_is_the_mean_squared_error_on_the_whole_range():
    black = torch.full((2, 3, 4, 4), -1.0)
    other = black.clone()
    other[1, :, :2] = 1.0  # half of the pixels by 2
    assert figures.l2(other, black).tolist() == [0.0, 2.0]


def test_sr_mask_looks_at_edited_pixels_only_and_an_empty_mask_is_no_success():
    x = torch.zeros(3, 3, 4, 4)
    reference = x.clone()
    reference[:2, :, 0] = 0.4  # edited by 1.2 over the channels, in a quarter of the pixels
    edited = reference.clone()
    edited[0, :, 1:] += 1.0  # wrong where nothing was edited
    edited[1, :, 0] += 0.23  # 0.0529 inside the mask, 0.013 over the picture
    edited[2] += 1.0  # the edit changed nothing: no mask
    assert figures.sr_mask(edited, reference, x).tolist() == [False, True, False]


def test_precision_recall_and_f1_count_real_as_positive():
    real = np.array([True] * 9 + [False])  # 9 of 10 reals pass
    fake = np.array([True] * 3 + [False] * 7)  # 3 of 10 fakes pass
    found = figures.detection(real, fake)
    assert found["precision"]["value"] == 0.75  # 9 / 12
    assert found["recall"]["value"] == 0.9
    assert found["f1"]["value"] == pytest.approx(2 * 0.75 * 0.9 / 1.65, abs=1e-4)
    assert all(f["n"] == 10 and f["ci95"][0] <= f["value"] <= f["ci95"][1] for f in found.values())


def test_a_detector_that_passes_everything_has_the_papers_baseline():
    everything = np.ones(100, bool)
    found = figures.detection(everything, everything)
    assert [found[k]["value"] for k in ("precision", "recall", "f1")] == [0.5, 1.0, 0.6667]
    nothing = figures.detection(~everything, ~everything)
    assert [nothing[k]["value"] for k in ("precision", "recall", "f1")] == [0.0, 0.0, 0.0]


def test_a_detector_that_was_never_wrong_on_a_few_faces_is_not_certainly_perfect():
    few, many = (figures.detection(np.ones(n, bool), np.zeros(n, bool)) for n in (16, 400))
    for name in ("precision", "recall", "f1"):
        assert few[name]["value"] == few[name]["ci95"][1] == 1.0
        assert 0.75 < few[name]["ci95"][0] < 0.95 < many[name]["ci95"][0] < 1.0


def test_several_fakes_a_face_weigh_as_one():
    real = np.array([True, True])
    fake = np.array([[True, False], [False, False]])  # half a fake passes
    assert figures.detection(real, fake)["precision"]["value"] == pytest.approx(2 / 2.5)


def test_a_share_has_wilsons_interval_over_faces():
    figure = figures.share([True] * 4 + [False] * 4, [f"face {k}" for k in range(8)])
    assert figure == {"value": 0.5, "n": 8, "ci95": [0.2152, 0.7848]}
    assert figures.share([True] * 8, range(8))["ci95"][0] == pytest.approx(8 / (8 + 1.959964**2), abs=1e-4)


def test_the_bootstrap_draws_faces_and_not_pairs():
    values, alone = [0.0, 1.0] * 50, range(100)
    two_faces = ["a", "b"] * 50
    low, high = figures.mean(values, two_faces)["ci95"]
    assert (low, high) == (0.0, 1.0)  # either face may be drawn twice
    low, high = figures.mean(values, alone)["ci95"]
    assert 0.35 < low < 0.45 < 0.55 < high < 0.65


def test_an_unknown_channel_is_listed():
    with pytest.raises(UsageError, match=r"h264_crf23"):
        channels(["mpeg2"])
    assert [c.name for c in channels(STANDARD)] == list(STANDARD)


@pytest.fixture(scope="module")
def still() -> Still:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 3, 12, 12)))
    smooth = torch.nn.functional.interpolate(coarse, size=(140, 140), mode="bicubic").clamp(0, 1)[0]
    return Still("one", (smooth.permute(1, 2, 0).numpy() * 255).astype(np.uint8), Box(50, 45, 90, 95))


def test_hd_pictures_keep_their_colours_whatever_their_height():
    for height in (64, 1080):
        red = np.zeros((height, 64, 3), np.uint8)
        red[..., 0] = 250
        back = pixels.whole_rgb(to_bt709(red))[height // 2, 32].astype(int)
        assert np.abs(back - [250, 0, 0]).max() <= 2


def test_a_still_is_cut_to_what_matters(still):
    cut = tight(still)
    assert cut.rgb.shape[0] < still.rgb.shape[0]
    assert cut.face.width == still.face.width
    y, x = int(cut.face.y0), int(cut.face.x0)
    assert (cut.rgb[y, x] == still.rgb[int(still.face.y0), int(still.face.x0)]).all()


@pytest.mark.parametrize("name", sorted(set(CHANNELS) - {"float"}))
def test_every_channel_delivers_the_head_where_it_was(still, name):
    channel = CHANNELS[name]
    if channel.codec and not can_encode(channel.codec):
        pytest.skip(f"no encoder for {channel.codec}")
    made = Deliveries([still], [64], [channel])
    control = Treated("none", [Treatment(None, lambda size: torch.zeros(3, size, size))])
    seen, clean = made.heads(control, 96, channel, 64), made.clean(96, 64, channel.crop)
    assert seen.shape == (1, 3, 64, 64)
    assert (seen - clean).square().mean().sqrt() < 0.08
    assert made.quality(control, 96).psnr_db is None


def test_a_float_difference_is_what_eight_bits_round(still):
    """The two ways of applying a grid, in floats and into the planes of a picture, agree to rounding and scaling."""
    from engines.evaluation.protectors import _spread

    rng = torch.Generator().manual_seed(0)
    delta = 0.05 * (torch.rand(3, 8, 8, generator=rng) - 0.5)
    made = Treated("grid", [Treatment(fixed(delta.numpy(), guard_region), _spread(delta))])
    deliveries = Deliveries([still], [64], channels(["float", "8bit"]))
    x = deliveries.clean(192, 64)
    exact, rounded = (deliveries.heads(made, 192, c, 64) - x for c in deliveries.channels)
    assert (exact - rounded).square().mean() < 0.03 * exact.square().mean()
    assert deliveries.quality(made, 192).psnr_db == pytest.approx(
        -20 * np.log10(float(exact.square().mean().sqrt()) / 2), abs=0.7
    )


def test_block_motion_finds_a_shift_and_stands_still_on_a_tie():
    rng = np.random.default_rng(0)
    scene = rng.random((4 * BLOCK + 2 * REACH, 4 * BLOCK + 2 * REACH)).astype(np.float32)
    now = scene[REACH + 2 : REACH + 2 + 2 * BLOCK, REACH - 3 : REACH - 3 + 2 * BLOCK]
    before = scene[: 2 * BLOCK + 2 * REACH, : 2 * BLOCK + 2 * REACH]
    motion = block_motion(now, before)
    assert (motion == [2, -3]).all()
    assert np.array_equal(warped(before[..., None], motion)[..., 0], now)
    assert not block_motion(np.zeros((BLOCK, BLOCK), np.float32), np.zeros((BLOCK + 12, BLOCK + 12), np.float32)).any()


def test_energy_and_levels_tell_a_steady_change_from_one_that_flickers():
    rng = np.random.default_rng(0)
    still = rng.integers(60, 190, (96, 96, 3), dtype=np.uint8)
    pictures = [
        np.clip(still.astype(int) + rng.integers(-2, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(3)
    ]
    face = Face(1, Box(30, 30, 66, 66), 1.0)
    steady, flickering = Watched(), Watched()
    for k, picture in enumerate(pictures):
        steady.add(k, face, picture, picture + 4)
        flickering.add(k, face, picture, picture + 8 * (k % 2))
    assert steady.energies == pytest.approx([1.0, 1.0])
    assert steady.levels == [0.0, 0.0]
    assert min(flickering.energies) > 5
    assert flickering.levels == [8.0, 8.0]
    assert energy(still, still, still, still, Box(0, 0, 8, 8)) is None


def test_a_change_of_face_is_no_flicker():
    picture = np.random.default_rng(0).integers(60, 190, (96, 96, 3), dtype=np.uint8)
    watched = Watched()
    for k, track in enumerate((1, 2, 2)):
        watched.add(k, Face(track, Box(30, 30, 66, 66), 1.0), picture + (k % 2), picture + 8 * k)
    assert (len(watched.energies), len(watched.levels)) == (1, 1)


def test_an_identity_is_read_from_the_face_in_the_head():
    """On a picture that says where each place is: the face's middle comes to the middle, 1.2 boxes wide."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 140), torch.linspace(-1, 1, 140), indexing="ij")
    seen = crop(torch.stack([x, y, 0 * x])[None], _theta(1), identity_network.SIZE)[0]
    face = Box(100, 100, 200, 200)
    head, wanted = head_region(face), face.square(1.2)
    sides = ((wanted.x0, wanted.x1, head.x0, head.x1), (wanted.y0, wanted.y1, head.y0, head.y1))
    for plane, (low, high, start, end) in zip((seen[0, 56], seen[1, :, 56]), sides, strict=True):
        ends = [2 * (edge - start) / (end - start) - 1 for edge in (low, high)]
        assert [float(plane[0]), float(plane[-1])] == pytest.approx(ends, abs=0.02)


def test_a_document_with_mistakes_is_named():
    good = {
        **dict.fromkeys(("table", "title", "command", "seed", "device", "data", "faces", "criterion"), "x"),
        **{key: [] for key in ("generators", "detectors", "not_run", "notes")},
        "seconds": 1.0,
        "machine": {},
        "rows": [{"labels": {"a": 1}, "columns": {"float": {"l2": {"value": 0.1, "n": 3, "ci95": [0.0, 0.2]}}}}],
    }
    assert problems(good) == []
    bad = [
        ({"rows": [{"labels": {}, "columns": {}}]}, "no labels"),
        ({"not_run": [{"labels": {"a": 1}}]}, "no reason"),
        (
            {
                "rows": [
                    {"labels": {"a": 1}, "columns": {"float": {"l2": {"value": float("nan"), "n": 1, "ci95": [0, 1]}}}}
                ]
            },
            "finite",
        ),
        (
            {"rows": [{"labels": {"a": 1}, "columns": {"float": {"l2": {"value": 1, "n": 0, "ci95": [0, 1]}}}}]},
            "n is below",
        ),
        ({"rows": [{"labels": {"a": 1}, "columns": {"float": {"l2": {"value": 1}}}}]}, "keys"),
    ]
    for change, said in bad:
        assert said in "; ".join(problems({**good, **change}))
    assert "no seed" in problems({k: v for k, v in good.items() if k != "seed"})


def test_delivered_counts_pairs_and_what_the_perturbation_costs(still, tmp_path):
    (probe,) = load_probes([str(write_probe(tmp_path / "probe"))])
    delta = 0.03 * torch.sign(torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))).numpy()
    found = measure([still], 96, 23, probe, {"control": None, "grid": fixed(delta, guard_region)})
    control, grid = found["control"].summary(), found["grid"].summary(found["control"])
    assert control["pairs"] == grid["pairs"] == len(probe.conditions)
    assert control["l2_mean"] < grid["l2_mean"]
    assert 25 < grid["face_psnr_db"] < 36
    probe.close()


def test_a_clip_says_what_its_samples_mean(still):
    assert {(f.colorspace, f.color_range) for f, _ in clip(still, 64)} == {(1, 1)}
