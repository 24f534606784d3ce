"""First Order Motion learns, resumes, stops on other settings, and becomes a target and a probe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from engines.data import clips, pack
from engines.export import PARITY_ATOL, to_onnx
from engines.generators import train_fomm as fomm
from engines.generators.fomm import adversary
from engines.generators.fomm.driving import MOTIONS, WARPED, clearest
from engines.generators.fomm.geometry import KeyPoints
from engines.generators.fomm.losses import equivariance, reconstruction, ssim
from engines.generators.fomm.pairs import ANCHORS, MIRRORED, Guard, Pairs, Pool, placed, seen, view
from engines.generators.fomm.warps import Warp
from engines.training import stored
from stream_guard.errors import EngineError, UsageError
from stream_guard.types import Box

SMALL = fomm.Settings(
    size=32,
    batch=2,
    kp_block=4,
    kp_max=16,
    kp_blocks=2,
    kp_scale=0.5,
    block=4,
    max_features=8,
    bottleneck=1,
    motion_block=4,
    motion_max=16,
    motion_blocks=2,
    motion_scale=0.5,
)
CPU = torch.device("cpu")


def _landmarks(shift=0.0, mouth=0.0):
    """66 points of a face drawn by hand; `shift` moves the nose, `mouth` opens it."""
    points = np.full((66, 2), 0.5, np.float32)
    points[:17] = np.stack([np.linspace(0.2, 0.8, 17), 0.85 - 0.4 * np.abs(np.linspace(-1, 1, 17))], 1)
    points[36:42], points[42:48] = (0.35, 0.4), (0.65, 0.4)
    points[30] = (0.5 + shift, 0.55)
    points[58], points[62] = (0.4, 0.7), (0.6, 0.7)
    points[48:53], points[53:58] = (0.5, 0.68), (0.5, 0.72 + mouth)
    points[59:62], points[63:66] = (0.5, 0.69), (0.5, 0.71 + mouth)
    return points


def _clip(name, motions):
    """Frames of a coarse picture that moves by `motions` pixels, with landmarks."""
    rng = np.random.default_rng(sum(map(ord, name)))
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((60, 60), Image.Resampling.BICUBIC))
    frames = np.stack([picture[8 : 8 + 44, 8 + m : 52 + m] for m in motions])
    return clips.Clip(name, pack.split_of(name), frames, np.stack([_landmarks()] * len(motions)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A pack with ten stills and three clips, one of them held out."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for k in range(20):
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((90, 90)).save(folder / f"{k}.png")
        rows.append((folder / f"{k}.png", None, Box(25, 25, 65, 65)))
    names = [n for n in (f"person{k}" for k in range(200)) if pack.split_of(n) != "val"]
    chosen = [
        next(n for n in names if pack.split_of(n) == "test"),
        *[n for n in names if pack.split_of(n) == "train"][:2],
    ]
    made = [_clip(name, range(8)) for name in chosen]
    jpeg = [pack.encode_image(Image.fromarray(f), "JPEG", quality=90) for clip in made for f in clip.frames]
    extra = {
        "clip_jpeg": np.frombuffer(b"".join(jpeg), np.uint8),
        "clip_jpeg_end": np.cumsum([len(b) for b in jpeg]),
        "clip_of": np.repeat(np.arange(3), 8),
        "clip_names": np.array(chosen),
        "clip_split": np.array([pack.SPLITS.index(c.split) for c in made], np.uint8),
        "clip_landmarks": np.concatenate([c.landmarks for c in made]).astype(np.float16),
    }
    pack.build(rows, folder / "both.pack", size=56, extra=extra)
    pack.build(rows, folder / "stills.pack", size=56)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "fomm"
    fomm.train(data / "both.pack", out, 0.05, False, "cpu", SMALL)
    return out


def test_a_warp_has_the_jacobian_that_autograd_finds():
    warp = Warp(2, 0.1, 0.05, torch.Generator().manual_seed(0), CPU)
    at = (torch.rand(2, 3, 2) * 2 - 1).requires_grad_(True)
    places, jacobian = warp.places(at), warp.jacobian(at)
    for axis in range(2):
        (row,) = torch.autograd.grad(places[..., axis].sum(), at, retain_graph=True)
        torch.testing.assert_close(row, jacobian[:, :, axis], rtol=1e-4, atol=1e-5)


def test_a_point_is_where_the_warped_picture_shows_it():
    """The picture at `places(p)` is what the warped picture has at p."""
    warp = Warp(1, 0.05, 0.01, torch.Generator().manual_seed(1), CPU)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 65), torch.linspace(-1, 1, 65), indexing="ij")
    warped = warp.frame(torch.stack([x, y])[None])
    at = torch.tensor([[[0.25, -0.5]]])
    shown = warped[0, :, 16, 40]  # x = 40 / 32 - 1, y = 16 / 32 - 1
    torch.testing.assert_close(shown, warp.places(at)[0, 0], rtol=1e-3, atol=1e-3)


def test_points_move_with_their_view():
    rgb = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
    rgb[:, :, 30:33, 50:53] = 255
    point = torch.tensor([[[51.5 / 40 - 1, 31.5 / 40 - 1]]])
    theta = placed(1, 0.8, 0.2, 0.3, torch.Generator().manual_seed(3))
    picture = view(rgb, theta, 64)[0, 0]
    where = torch.stack([(picture.sum(0) * torch.arange(64)).sum(), (picture.sum(1) * torch.arange(64)).sum()])
    expected = (seen(point, theta, 64)[0, 0] + 1) / 2 * 63
    torch.testing.assert_close(where / picture.sum(), expected, rtol=0, atol=0.2)


def test_mirrored_anchors_change_sides():
    face = torch.from_numpy(_landmarks())
    points = torch.stack([face[list(group)].mean(0) for group in ANCHORS]) * 2 - 1
    torch.testing.assert_close(points[list(MIRRORED)] * torch.tensor([-1.0, 1.0]), points, rtol=0, atol=1e-5)


def test_pairs_come_from_clips_and_stills_and_are_repeatable():
    clip = _clip("a", range(6))
    moving = Pool.of_clips([clip], 32, CPU)
    still = Pool([clip.frames[:1]], [np.full((1, 66, 2), np.nan, np.float32)], 32, CPU)
    for share, known in ((0.0, 4), (1.0, 0)):
        one, two = (Pairs(moving, still, 32, share).batch(4, torch.Generator().manual_seed(5)) for _ in range(2))
        assert one.source.shape == one.driving.shape == (4, 3, 32, 32)
        assert torch.equal(one.driving, two.driving)
        assert int(torch.isfinite(one.driving_points).all(2).all(1).sum()) == known
        assert (one.source - one.driving).abs().mean() > 0.005
    assert Pairs(None, still, 32, 0.0).batch(2, torch.Generator()).source.shape == (2, 3, 32, 32)


def test_the_motion_of_a_warped_still_is_known():
    """Sampling the source at the given flow gives the driving picture."""
    frames = _clip("b", [0]).frames
    still = Pool([frames], [np.full((1, 66, 2), np.nan, np.float32)], 32, CPU)
    batch = Pairs(None, still, 64, 1.0).batch(8, torch.Generator().manual_seed(0))
    planes = torch.nn.functional.interpolate(
        batch.flow.permute(0, 3, 1, 2), size=64, mode="bilinear", align_corners=True
    )
    flow = planes.permute(0, 2, 3, 1)
    moved = torch.nn.functional.grid_sample(batch.source, flow, align_corners=True)
    seen_there = (flow.abs() < 0.9).all(-1)[:, None].expand_as(moved)
    assert (moved - batch.driving).abs()[seen_there].mean() < 0.1 * (batch.source - batch.driving).abs()[
        seen_there
    ].mean()


def test_losses_are_zero_where_nothing_is_wrong():
    x = torch.rand(2, 3, 64, 64)
    assert reconstruction(x, x) == pytest.approx(0, abs=1e-5)
    assert ssim(x, x) == pytest.approx(1, abs=1e-5)
    assert reconstruction(x, 1 - x) > 0.3
    warp = Warp(2, 0.1, 0.0, torch.Generator().manual_seed(0), CPU)
    value = torch.rand(2, 10, 2) - 0.5
    warped = KeyPoints(value, torch.randn(2, 10, 2, 2))
    true = KeyPoints(warp.places(value), warp.jacobian(value) @ warped.jacobian)
    assert all(float(loss) < 1e-4 for loss in equivariance(true, warped, warp))
    assert all(float(loss) > 1e-2 for loss in equivariance(warped, warped, warp))


def test_the_adversary_wants_what_it_says():
    torch.manual_seed(0)
    d = adversary.Discriminator(4)
    real, fake = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    assert adversary.generator_loss(d(real), d(fake)) > adversary.generator_loss(d(real), d(real))
    optimizer = torch.optim.Adam(d.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = adversary.discriminator_loss(d(real), d(fake))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_clearest_motions_are_found():
    still, nose, lips = _landmarks(), _landmarks(shift=0.08), _landmarks(mouth=0.1)
    frames = np.zeros((4, 44, 44, 3), np.uint8)
    turning = clips.Clip("turns", "test", frames, np.stack([still, still, nose, still]))
    talking = clips.Clip("talks", "test", frames, np.stack([still, lips, still, still]))
    pairs = dict(zip(MOTIONS, clearest([turning, talking]), strict=True))
    assert pairs["mouth_open"][:2] == (1, 1)
    assert pairs["turn_right"][:2] == (0, 2)
    assert all(initial not in (1, 2) or c != initial - 1 for c, _, initial in pairs.values())


def test_steps_bring_the_picture_and_the_key_points_nearer(data):
    torch.manual_seed(0)
    trainer = fomm.FOMMTrainer(SMALL, data / "both.pack", CPU)
    batch = trainer.pairs.batch(4, torch.Generator().manual_seed(1))
    before, _ = trainer.losses(batch, 0)
    for number in range(30):
        trainer.step(number)
    after, _ = trainer.losses(batch, 0)
    assert after["rec"].item() < 0.9 * before["rec"].item()
    assert after["guide"].item() < 0.6 * before["guide"].item()


def test_a_run_becomes_a_target(run, data):
    target = fomm.target(run)
    assert target.condition_names == list(MOTIONS)
    assert target.conditions.shape == (5, 120)
    assert target.size == 32
    sampled = target.sample(40, torch.Generator().manual_seed(0))
    assert sampled.shape == (40, 120)
    assert len(sampled.unique(dim=0)) > 8  # of the 12 kept frames
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    edited = target(x, sampled[:3])
    assert edited.shape == x.shape
    assert edited.abs().max() <= 1
    assert torch.equal(edited, fomm.target(run)(x, sampled[:3])), "eval mode: no batch changes another"
    x.requires_grad_(True)
    (grad,) = torch.autograd.grad(target(x, sampled[:3]).square().sum(), x)
    assert grad.abs().sum() > 0
    assert (run / "sheet.png").exists()


def test_absolute_rows_ask_for_the_driving_pose(run):
    """A second half of zeros: the initial frame has no say, and the source's key points are replaced."""
    moved, posed = fomm.target(run, relative=True), fomm.target(run)
    assert posed.conditions[:, 60:].abs().max() == 0
    assert torch.equal(posed.conditions[:, :60], moved.conditions[:, :60])
    assert posed.sample(3, torch.Generator())[:, 60:].abs().max() == 0
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    c = posed.conditions[:2]
    network = posed.network
    driving = KeyPoints.of_flat(c[:, :60])
    expected = network.generator((x + 1) / 2, network.kp_detector((x + 1) / 2), driving).prediction * 2 - 1
    torch.testing.assert_close(posed(x, c), expected)
    mixed = posed(x, torch.stack([c[0], moved.conditions[1]]))
    torch.testing.assert_close(mixed[:1], posed(x[:1], c[:1]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed[1:], moved(x[1:], moved.conditions[1:2]), rtol=1e-4, atol=1e-4)
    x.requires_grad_(True)
    (grad,) = torch.autograd.grad(posed(x, c).square().sum(), x)
    assert torch.isfinite(grad).all()


def test_a_run_resumes_and_refuses_other_settings(run, data, tmp_path):
    before = stored(run)
    again = fomm.train(data / "both.pack", run, 0.02, True, "cpu", SMALL)
    assert again.step > before.step
    with pytest.raises(UsageError, match="was trained with"):
        fomm.train(data / "both.pack", run, 0.02, True, "cpu", fomm.Settings(size=64))


def test_stills_alone_will_do(data, tmp_path):
    fomm.train(data / "stills.pack", tmp_path / "run", 0.0, False, "cpu", SMALL)
    target = fomm.target(tmp_path / "run")
    assert target.condition_names == list(WARPED)
    half = fomm.target(tmp_path / "run", relative=True).conditions.view(5, 2, 60)
    assert (half[:, 0] - half[:, 1]).abs().amax(1).min() > 0, "driving and initial frame differ"


def test_another_run_is_refused(run, tmp_path):
    state = torch.load(run / "state.pt", weights_only=True)
    state["parts"]["ema"] = {"main.0.weight": torch.zeros(1)}
    (tmp_path / "other").mkdir()
    torch.save(state, tmp_path / "other" / "state.pt")
    with pytest.raises(EngineError, match="do not fit Animator"):
        fomm.load(tmp_path / "other")


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_probe_is_the_same_in_both_runtimes(aligned, run, tmp_path):
    target = fomm.target(run, relative=aligned)
    for module in target.network.modules():
        if hasattr(module, "align_corners"):
            module.align_corners = aligned
    example = {"image": torch.rand(3, 3, 32, 32) * 2 - 1, "condition": target.conditions[:3]}
    assert to_onnx(target, example, "edited", tmp_path / "model.onnx") <= PARITY_ATOL
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(tmp_path / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for n in (1, 3):
        feeds = {name: value[:n].numpy() for name, value in example.items()}
        got = compiled(feeds)[0]
        np.testing.assert_allclose(got, target(*(v[:n] for v in example.values())).detach().numpy(), atol=PARITY_ATOL)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 4, 28), (1.0, 32, 32)])
def test_an_attacker_may_learn_from_protected_sources(share, least, most):
    """Sources alone are protected: what the attacker wants is the unprotected driving frame."""
    clip = _clip("a", range(6))
    pool = Pool.of_clips([clip], 32, CPU, Guard(torch.zeros_like, share))
    rng = torch.Generator().manual_seed(1)
    batch = Pairs(pool, None, 32, 0.0).batch(32, rng)
    assert least <= int((batch.source.amax((1, 2, 3)) == 0).sum()) <= most
    assert bool((batch.driving.amax((1, 2, 3)) > 0).all())


def test_a_run_begins_with_another_ones_weights_and_says_so(run, data, tmp_path):
    fomm.train(data / "both.pack", tmp_path / "b", 0.0, False, "cpu", SMALL, run)
    before, after = stored(run).parts["ema"], stored(tmp_path / "b").parts["ema"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert stored(tmp_path / "b").notes[0]["start"] == {
        run.name: {"name": "fomm", "steps": stored(run).step, "settings": stored(run).settings}
    }


def test_a_run_says_what_protected_its_sources(data, tmp_path):
    fomm.train(data / "both.pack", tmp_path / "p", 0.0, False, "cpu", replace(SMALL, protected=0.5))
    assert len(stored(tmp_path / "p").notes[0]["protected_by"]["sha256"]) == 64
