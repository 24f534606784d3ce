"""First Order Motion: learns to move a face from pairs of clip frames and from stills warped at random.

The losses are the published ones, but for the perceptual one, which needs VGG-19: a pyramid of L1, gradients and SSIM
stands in for it. Within minutes key points found from nothing would not settle, so that landmarks lead them at first
(the lead halves every `guide_steps`), and the motion of warped stills is shown to the network. The defaults are slim;
the published size is
--set size=256 kp_block=32 kp_max=1024 kp_blocks=5 block=64 max_features=512 down=2 bottleneck=6
motion_block=64 motion_max=1024 motion_blocks=5 lr=2e-4 batch=20 adversarial=1.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from stream_guard.errors import EngineError, UsageError

from ..data import clips, pack
from ..data.heads import HEAD_SHARE
from ..data.origin import described
from ..data.protected import Protector
from ..settings import sized
from ..training import Run, draw_on, load_part, noted, pick_device, seed_everything, settings_of, stored
from .fomm import adversary
from .fomm.animate import Animator, absolute
from .fomm.driving import Driving, from_clips, from_stills
from .fomm.generator import OcclusionAwareGenerator
from .fomm.geometry import KeyPoints, kp2gaussian
from .fomm.keypoints import KPDetector
from .fomm.losses import equivariance, reconstruction
from .fomm.pairs import FLOW, Batch, Guard, Pairs, Pool, placed, view
from .fomm.sheet import sheet
from .fomm.warps import Warp
from .target import Target

NAME = "fomm"
CARD = {
    "title": "First Order Motion surrogate",
    "paper": "Siarohin et al.: First Order Motion Model for Image Animation, NeurIPS 2019",
    "data": "CelebAMask-HQ stills (non-commercial research) and synthetic faces; frames of talking-head clips "
    "(internal use); train split only, persons split by a hash of the name",
    "notes": "Learned from pairs of clip frames and from warped stills, without a perceptual network; landmarks led "
    "the key points at first, and the motion of warped stills was shown. Blurrier than the published vox-256, and it "
    "moves a head less: figures hold for this surrogate only.",
    "condition": "key points of the driving frame, then of the initial driving frame: 10 (x, y) and 10 jacobians each; "
    "a second half of zeros asks for the driving pose itself instead of its motion",
}


@dataclass(frozen=True)
class Settings:
    size: int = 128
    batch: int = 4
    lr: float = 1e-3
    kp_block: int = 16
    kp_max: int = 128
    kp_blocks: int = 4
    kp_scale: float = 0.25
    """Key points are looked for at this share of the size."""
    block: int = 16
    max_features: int = 256
    down: int = 1
    """Halvings before the features are warped; 1 at 128 px leaves the 64 x 64 that the published 2 leave at 256."""
    bottleneck: int = 4
    motion_block: int = 16
    motion_max: int = 128
    motion_blocks: int = 4
    motion_scale: float = 0.25
    align_corners: bool = True
    """How `grid_sample` reads positions: True, as for the published weights, agrees with the key points' grid."""
    stills: float = 0.4
    """Share of pairs made by warping a still."""
    flow: float = 10.0
    """Weight of the motion's distance to the true one, which is known for warped stills."""
    reconstruction: float = 20.0
    equivariance_value: float = 10.0
    equivariance_jacobian: float = 10.0
    guide: float = 20.0
    """Weight of the landmarks' lead at the first step."""
    guide_steps: int = 600
    """Steps in which that weight halves."""
    features: float = 3.0
    """Extra weight of a difference at the eyes and the mouth."""
    adversarial: float = 0.0
    """Weight of the adversary; 0 trains without one, as the published vox-256 did."""
    adversary_dim: int = 32
    protected: float = 0.0
    """Share of the sources that the zoo's disrupter protected first: an attacker who trains against it."""
    ema: float = 0.998
    """The surrogate is this running mean of the weights."""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for a size that the networks can't halve so often."""
        needs = (2**self.kp_blocks / self.kp_scale, 2**self.motion_blocks / self.motion_scale, 2**self.down)
        whole = max(math.ceil(need) for need in needs)
        sized(self.size, whole, whole)


def networks(s: Settings) -> Animator:
    """The detector and the generator of these settings, untrained."""
    detector = KPDetector(s.kp_block, 10, s.kp_max, s.kp_blocks, scale_factor=s.kp_scale)
    generator = OcclusionAwareGenerator(
        s.block,
        10,
        s.max_features,
        s.down,
        s.bottleneck,
        s.motion_block,
        s.motion_max,
        s.motion_blocks,
        s.motion_scale,
        align_corners=s.align_corners,
    )
    return Animator(detector, generator)


class FOMMTrainer:
    def __init__(self, settings: Settings, data: Path, device: torch.device) -> None:
        self.s, self.device = settings, device
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.pairs, self.driving = material(settings, data, device)
        self.net = networks(settings).to(device).train()
        self.ema = copy.deepcopy(self.net).requires_grad_(False)
        self.opt = torch.optim.Adam(self.net.parameters(), settings.lr, (0.5, 0.99))
        self.d = adversary.Discriminator(settings.adversary_dim).to(device)
        self.opt_d = torch.optim.Adam(self.d.parameters(), settings.lr, (0.5, 0.99))

    @property
    def parts(self) -> dict[str, Any]:
        parts = {"net": self.net, "ema": self.ema, "opt": self.opt, "driving": self.driving}
        return parts | ({"d": self.d, "opt_d": self.opt_d} if self.s.adversarial else {})

    def step(self, number: int) -> dict[str, float]:
        batch = self.pairs.batch(self.s.batch, self.rng)
        losses, fake = self.losses(batch, number)
        loss = torch.stack(list(losses.values())).sum()
        real = batch.driving
        if self.s.adversarial:
            loss = loss + self.s.adversarial * adversary.generator_loss(self.d(real), self.d(fake))
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.opt.step()
        self._follow(min(self.s.ema, (1 + number) / (10 + number)))
        report = {"loss": loss.item(), **{name: value.item() for name, value in losses.items()}}
        return report | ({"d": self._discriminate(real, fake.detach())} if self.s.adversarial else {})

    def losses(self, batch: Batch, number: int) -> tuple[dict[str, Tensor], Tensor]:
        """The weighted losses by name, and the prediction."""
        n = len(batch.source)
        warp = Warp(n, 0.05, 0.005, self.rng, self.device)
        # One pass for all three, so that batch norm sees more pictures.
        whole: KeyPoints = self.net.kp_detector(torch.cat([batch.source, batch.driving, warp.frame(batch.driving)]))
        source, driving, warped = (KeyPoints(*(part[k * n : (k + 1) * n] for part in whole)) for k in range(3))
        out = self.net.generator(batch.source, source, driving)
        value, jacobian = equivariance(driving, warped, warp)
        weight = self._features(batch.driving_points)
        losses = {
            "rec": self.s.reconstruction * reconstruction(out.prediction, batch.driving, weight),
            # The merely warped source, coarsely: the flow learns before the painter can make up for it.
            "warp": F.l1_loss(F.avg_pool2d(out.deformed, 4), F.avg_pool2d(batch.driving, 4)) * 5,
            "eq_value": self.s.equivariance_value * value,
            "eq_jacobian": self.s.equivariance_jacobian * jacobian,
        }
        losses["flow"] = self.s.flow * _distance(_at(out.motion.deformation, FLOW), _inside(batch.flow))
        lead = self.s.guide * 0.5 ** (number / self.s.guide_steps)
        points = torch.cat([batch.source_points, batch.driving_points])
        losses["guide"] = lead * _distance(whole.value[: 2 * n], points)
        return losses, out.prediction

    def _features(self, points: Tensor) -> Tensor:
        """(N, 1, S, S): 1, and more around the anchors of eyes and mouth where they are known."""
        places = torch.nan_to_num(points[:, :7], nan=9.0)
        near = kp2gaussian(places, self.s.size, self.s.size, 0.015).amax(1, keepdim=True)
        return 1 + self.s.features * near

    def _follow(self, keep: float) -> None:
        with torch.no_grad():
            for mean, value in zip(self.ema.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - keep)
                else:
                    mean.copy_(value)

    def _discriminate(self, real: Tensor, fake: Tensor) -> float:
        loss = adversary.discriminator_loss(self.d(real), self.d(fake))
        self.opt_d.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_d.step()
        return loss.item()


def _at(deformation: Tensor, side: int) -> Tensor:
    """The deformation (N, h, w, 2) on a grid of `side`."""
    if deformation.shape[1] == side:
        return deformation
    planes = F.interpolate(deformation.permute(0, 3, 1, 2), size=(side, side), mode="bilinear")
    return planes.permute(0, 2, 3, 1)


def _inside(flow: Tensor) -> Tensor:
    """NaN where the motion comes from beyond the source: there the network may choose."""
    return torch.where((flow.abs() <= 1).all(-1, keepdim=True), flow, torch.nan)


def _distance(value: Tensor, points: Tensor) -> Tensor:
    """Mean L1 to the points (..., 2) that are known; 0 where none is."""
    known = torch.isfinite(points)
    return ((value - torch.nan_to_num(points)).abs() * known).sum() / known.sum().clamp(min=1)


def material(s: Settings, data: Path, device: torch.device) -> tuple[Pairs, Driving]:
    """What a pack has for training, and the driving frames that the run keeps."""
    trained, held_out = clips.read_clips(data, ["train"]), clips.read_clips(data, ["test"])
    guard = Guard(Protector(), s.protected) if s.protected else None
    if guard is not None:
        print("the pack's pictures are protected first; the minutes count from the first step on", flush=True)
    stills = _stills(data, "train", s.size, device, guard)
    moving = Pool.of_clips(trained, s.size, device, guard) if trained else None
    if moving is None and stills is None:
        raise EngineError(f"{data} has neither clips nor stills in its train split to learn motion from")
    if trained:
        driving = from_clips(trained, held_out or trained, s.size)
    else:
        assert stills is not None
        driving = from_stills(stills, _stills(data, "test", s.size, torch.device("cpu")) or stills)
    return Pairs(moving, stills, s.size, s.stills), driving


def _stills(data: Path, split: str, size: int, device: torch.device, guard: Guard | None = None) -> Pool | None:
    heads = pack.read(data, [split])
    blank = np.full((66, 2), np.nan, np.float32)
    points = [blank if h.landmarks is None else h.landmarks for h in heads]
    pictures = [h.rgb[None] for h in heads]
    return Pool(pictures, [p[None] for p in points], size, device, guard) if heads else None


def train(
    data: Path,
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings | None = None,
    start: Path | None = None,
) -> Run:
    """Train for `minutes`. Writes `out`/state.pt and, at the end, `out`/sheet.png.

    A new run begins with the weights of the run `start`, where one is named; such a run wants no lead (`guide=0`).
    """
    settings = settings or Settings()
    seed_everything(settings.seed)
    trainer = FOMMTrainer(settings, data, pick_device(device))
    run = Run.of(out, settings, minutes, NAME, {"data": described(data), **notes(settings, start)})
    if start is not None:
        load_part(start, "ema", trainer.net)
        load_part(start, "ema", trainer.ema)
        draw_on(trainer.rng, settings.seed, [start])
    if resume:
        run.resume(trainer.parts, trainer.rng)
    for _ in run.steps(trainer.parts):
        rate = settings.lr * min(1.0, 1.4 * (1 - run.progress) + 0.02)
        for group in (*trainer.opt.param_groups, *trainer.opt_d.param_groups):
            group["lr"] = rate
        run.tick(trainer.step(run.step), trainer.parts)
    run.save(trainer.parts)
    write_sheet(out, data)
    return run


def notes(settings: Settings, start: Path | None) -> dict[str, Any]:
    """What the run keeps beside its settings: whose weights it began with, and what protected its sources."""
    said: dict[str, Any] = {"start": {start.name: noted(start)}} if start is not None else {}
    if settings.protected:
        said["protected_by"] = Protector().about()
    return said


def blank(settings: Settings, data: Path | None = None) -> dict[str, Any]:
    """The parts of a run that `load` and `target` read, untrained; driving frames come from the pack `data`.

    Raises UsageError without a pack.
    """
    if data is None:
        raise UsageError("First Order Motion needs driving frames: name a pack that has clips (--data PACK)")
    return {"ema": networks(settings), "driving": material(settings, data, torch.device("cpu"))[1]}


def load(folder: Path) -> Animator:
    """The trained networks of a run, frozen, in eval mode: batch norm uses running statistics, as published."""
    network = networks(settings_of(folder, Settings))
    load_part(folder, "ema", network)
    return network.requires_grad_(False).eval()


class FOMMTarget(Target):
    """Training draws any two frames of a training clip as driving and initial frame, in the same way as the rows."""

    bank: Tensor
    partner: Tensor

    def __init__(
        self, network: Animator, rows: Tensor, names: list[str], size: int, bank: Tensor, clip: Tensor, relative: bool
    ) -> None:
        super().__init__(network, NAME, rows if relative else absolute(rows), names, size)
        first, second = torch.nonzero((clip[:, None] == clip) & ~torch.eye(len(clip), dtype=torch.bool)).unbind(1)
        self.register_buffer("bank", bank)
        self.register_buffer("partner", torch.stack([first, second], 1))
        self.relative = relative
        self.eval()  # as its networks: an exporter puts the mode of the whole back on its parts

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        which = torch.randint(len(self.partner), (n,), generator=rng).to(self.partner.device)
        rows = self.bank[self.partner[which]].flatten(1)
        return rows if self.relative else absolute(rows)


def target(folder: Path, data: Path | None = None, relative: bool = False) -> Target:
    """The run's networks as an attacker runs them; driving frames are the run's own, so that `data` is not needed.

    The conditions ask for the driving poses themselves, as the published demo.py does by default, or with `relative`
    for their motion (its --relative). Relative motion hardly heeds where the source's key points are found: they drop
    out of eq. 4, so that an attack on the detector does little.
    """
    network, s = load(folder), settings_of(folder, Settings)
    kept = Driving.of_state(stored(folder).parts["driving"])
    frames = driving_frames(kept, s.size)
    with torch.no_grad():
        rows = torch.cat([network.kp_detector((part + 1) / 2).flat() for part in frames.split(16)])
    mine = kept.clip >= 0
    return FOMMTarget(
        network, rows[kept.fixed].flatten(1), list(kept.names), s.size, rows[mine], kept.clip[mine], relative
    )


def driving_frames(kept: Driving, size: int) -> Tensor:
    """(F, 3, size, size) in [-1, 1]: the kept frames as the network sees heads."""
    return view(kept.rgb, placed(len(kept.rgb), HEAD_SHARE, 0.0, 0.0, torch.Generator()), size) * 2 - 1


def write_sheet(folder: Path, data: Path, sources: int = 5) -> Path:
    """`folder`/sheet.png: held-out stills moved by the held-out pairs, and one of the frames itself."""
    network, s = load(folder), settings_of(folder, Settings)
    kept = Driving.of_state(stored(folder).parts["driving"])
    frames = driving_frames(kept, s.size)
    driving, initial = frames[kept.fixed[:, 0]], frames[kept.fixed[:, 1]]
    heads = pack.read(data, ["test"])
    heads = heads[:: max(1, len(heads) // sources)][:sources]
    shown = [initial[:1]]
    if heads:
        rgb = torch.from_numpy(np.stack([h.rgb for h in heads])).permute(0, 3, 1, 2)
        shown.append(view(rgb, placed(len(rgb), HEAD_SHARE, 0.0, 0.0, torch.Generator()), s.size) * 2 - 1)
    path = folder / "sheet.png"
    Image.fromarray(sheet(network, torch.cat(shown), driving, initial)).save(path)
    return path
