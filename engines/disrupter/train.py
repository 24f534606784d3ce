"""Trains P against any set of frozen generators and detectors, with the delivery in the loop (eq. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stream_guard.errors import UsageError

from ..data import pack
from ..data.clips import read_clips
from ..data.heads import Heads, crop, crop_theta
from ..data.origin import described
from ..generators.target import Target
from ..training import Run, draw_on, load_part, pick_device, seed_everything, settings_of, stored
from . import delivery, objective
from .balance import Balance
from .budget import head_rms, rms_of_psnr
from .network import SIZE, Disrupter, shrink
from .objective import Attempt, Detector
from .visible import seen

NAME = "disrupter"
SLACK = 1.25
"""How far beyond its budget P may draw, since it is held to it anyway: no face is left under its budget for that."""


@dataclass(frozen=True)
class Settings:
    width: int = 32
    """channels of P at its finest scale"""
    epsilon_levels: float = 16.0
    """hard bound on a value of the perturbation, in levels of 255"""
    psnr_db: float = 36.5
    """the budget: no face's PSNR over the head, of the perturbation alone, is under it in the end"""
    seen: float = 0.0
    """the budget for what is seen of it, in S-CIELAB over the head (visible.seen; 0: none)"""
    c_seen: float = 2.0
    """weight of the hinge on that budget"""
    colour: float = 1.0
    """the share of that bound that Cb and Cr get in textured areas; less tints less, and disrupts less"""
    start_psnr_db: float = 31.0
    """the budget at the start; it anneals over the first half"""
    c1: float = 8.0
    """eq. 7: weight of the hinge on the norm"""
    c2: float = 0.0
    """eq. 7: weight of detectors taking the protected edits for real"""
    c3: float = 0.0
    """eq. 7: weight of detectors taking the protected faces for fake"""
    batch: int = 6
    """heads a step; 32 to 64 on a GPU"""
    lr: float = 1e-3
    """Adam's, at the start; it falls over the second half"""
    log_distance: bool = True
    """the logarithm of the distance, so that a pair far from success pulls as hard"""
    log_detection: bool = True
    """-log of the detectors' probabilities instead of the probabilities of eq. 5 and 6"""
    enough: float = 0.0
    """a pair disrupted beyond this L2 no longer pulls (0: every pair does)"""
    balance: str = "distance"
    """between generators: uniform, distance (from success) or mgda (min-norm of unit gradients)"""
    per_step: int = 1
    """generators a step (0: all of them)"""
    shares: str = ""
    """how often each generator is drawn, in the order of --targets, as in 1,3 (empty: as balance says)"""
    conditions: str = ""
    """the conditions that generators are asked for, by name, as in Black_Hair,Male (empty: their whole range)"""
    clips: float = 0.0
    """share of the heads that are frames of the pack's clips"""
    detectors_per_step: int = 1
    """detectors a step, in turn (0: all of them)"""
    detect_every: int = 4
    """detectors are asked in every so-many-th step, with as many times the weight"""
    steady: float = 0.0
    """weight against flicker: neighbouring crops get the same perturbation at the same place of the face"""
    smooth: float = 0.0
    """weight against the grid's high frequencies, which cost bits"""
    codec_share: float = 0.9
    """share of steps that go through a real encoder; the others only round to 8 bits"""
    plan_minutes: float = 0.0
    """length of the whole run over all its resumed calls, for the schedules (0: each call's own length)"""
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for shares that are none, and for an `enough` that no pair could be disrupted under."""
        for name in ("clips", "codec_share", "colour"):
            if (share := getattr(self, name)) > 1:
                raise UsageError(f"setting {name} is a share, 0 to 1, got {share:g}")
        if 0 < self.enough < objective.DISRUPTED:
            raise UsageError(
                f"setting enough must be 0 or at least {objective.DISRUPTED}, from where on a pair counts as "
                f"disrupted, got {self.enough:g}"
            )


class DisrupterTrainer:
    """One step: a batch of heads, one delivery, the generators and detectors whose turn it is; eq. 7; Adam.

    The generators' gradients are taken with respect to delta, one graph after another, and balanced there.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        targets: Mapping[str, Target],
        detectors: Mapping[str, Detector],
        device: torch.device,
    ) -> None:
        if (settings.c2 or settings.c3) and not detectors:
            raise UsageError("c2 and c3 weigh detectors: name their run folders with --detectors, or set both to 0")
        if detectors and not (settings.c2 or settings.c3):
            raise UsageError(
                "detectors are asked for nothing while c2 and c3 are 0: weigh them (--set c2=1 --set c3=1), or leave "
                "out --detectors"
            )
        self.s, self.device = settings, device
        self.balance = Balance(settings.balance, len(targets), settings.per_step, numbers(settings.shares))
        self.names = list(targets)
        asked = [name.strip() for name in settings.conditions.split(",") if name.strip()]
        self.targets = [target.narrowed(asked) if asked else target for target in targets.values()]
        self.detectors = list(detectors.values())
        self.heads = Heads(pack.read(data, ["train"]), device)
        self.frames = clip_frames(data, self.heads.rgb.shape[-1], device) if settings.clips else None
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.p = network_of(settings).to(device)
        self.opt = torch.optim.Adam(self.p.parameters(), settings.lr, (0.9, 0.99))
        self.steps = 0

    @property
    def parts(self) -> dict[str, Any]:
        return {"p": self.p, "opt": self.opt, "balance": self.balance}

    def batch(self) -> Tensor:
        """Guard regions (N, 3, S, S) in [0, 1]."""
        index = self.heads.pick(self.s.batch, self.rng)
        theta = crop_theta(len(index), 0.96, 0.06, self.rng, flip=True)
        rgb = self.heads.rgb[index.to(self.device)]
        if self.frames is not None:
            moving = torch.rand(len(index), generator=self.rng) < self.s.clips
            chosen = torch.randint(len(self.frames), (int(moving.sum()),), generator=self.rng)
            rgb[moving.to(self.device)] = self.frames[chosen.to(self.device)]
        rgb = rgb.float() / 255
        gain = 1 + 0.3 * (torch.rand(len(index), 1, 1, 1, generator=self.rng) - 0.5).to(self.device)
        return (crop(rgb, theta, rgb.shape[-1]) * gain).clamp(0, 1)

    def step(self, progress: float) -> dict[str, float]:
        """Update P once; the losses of those generators and detectors whose turn it was."""
        rgb = self.batch()
        self.p.psnr_db = self.budget(progress)
        drawn = self.p.draw(shrink(rgb, SIZE))
        delta = self.p.hold(drawn)
        pull, report = self.pull(rgb, delta)
        own, facts = self.own(rgb, drawn, delta)
        self.opt.zero_grad(set_to_none=True)
        torch.autograd.backward([delta, own], [pull, torch.ones_like(own)])
        report["gradient"] = float(nn.utils.clip_grad_norm_(self.p.parameters(), 1.0))
        self.opt.step()
        self.steps += 1
        return report | facts

    def pull(self, rgb: Tensor, delta: Tensor) -> tuple[Tensor, dict[str, float]]:
        """(the gradient of eq. 7's terms that need generators and detectors, shaped as delta; what they reported)."""
        leaf = delta.detach().requires_grad_(True)
        delivered = objective.deliver(rgb, leaf, delivery.random_channel(self.rng, self.s.codec_share))
        detectors = self.asked()
        report: dict[str, float] = {}
        chosen, gradients = self.balance.choose(self.rng), []
        for k in chosen:
            attempt = objective.random_attempt(self.targets[k], delivered, self.rng)
            loss, facts = self.against(attempt, detectors)
            gradients.append(torch.autograd.grad(loss, leaf, retain_graph=True)[0])
            self.balance.saw(k, facts["disrupted"])
            report |= {f"{key} {self.names[k]}": value for key, value in facts.items()}
        return self.balance.combine(chosen, gradients), report

    def asked(self) -> list[Detector]:
        """The detectors of this step: none in most steps, then some in turn."""
        turn, off = divmod(self.steps, max(self.s.detect_every, 1))
        if off or not self.detectors or not (self.s.c2 or self.s.c3):
            return []
        count = self.s.detectors_per_step or len(self.detectors)
        return [
            self.detectors[(turn * count + k) % len(self.detectors)] for k in range(min(count, len(self.detectors)))
        ]

    def against(self, attempt: Attempt, detectors: list[Detector]) -> tuple[Tensor, dict[str, float]]:
        """Eq. 7 without the norm, for one generator: (the loss, its terms as numbers)."""
        loss = -objective.gain(attempt.distance, self.s.log_distance, self.s.enough)
        distance = attempt.distance.detach()
        report = {
            "l2": distance.mean().item(),
            "disrupted": (distance >= objective.DISRUPTED).float().mean().item(),
        }
        if detectors:
            fake = objective.called_real(detectors, attempt.edited, self.s.log_detection)
            real = objective.called_fake(detectors, attempt.face, self.s.log_detection)
            loss = loss + self.s.detect_every * (self.s.c2 * fake + self.s.c3 * real)
            report |= {"edit called real": fake.item(), "face called fake": real.item()}
        return loss, report

    def own(self, rgb: Tensor, drawn: Tensor, delta: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The terms that need P alone: the norm of what it draws, and of its delta what flickers and costs bits."""
        rms = self.p.epsilon * head_rms(drawn)
        loss = self.s.c1 * objective.excess(rms, SLACK * rms_of_psnr(self.p.psnr_db))
        report = {"psnr_db": -20 * head_rms(delta.detach()).mean().log10().item(), "drawn": rms.mean().item() * 255}
        if self.s.seen:
            visible = seen(rgb, delta)
            loss = loss + self.s.c_seen * objective.excess(visible, self.s.seen)
            report["seen"] = visible.mean().item()
        if self.s.smooth:
            rough = objective.roughness(delta)
            loss, report["rough"] = loss + self.s.smooth * rough, rough.item()
        if self.s.steady:
            image, theta = objective.neighbour(rgb, self.rng)
            flicker = objective.unsteadiness(delta, self.p(shrink(image, SIZE)), theta)
            loss, report["flicker"] = loss + self.s.steady * flicker, flicker.item()
        return loss, report

    def budget(self, progress: float) -> float:
        """The PSNR to hold: strength anneals from strong to weak over the first half."""
        return self.s.start_psnr_db + min(progress * 2, 1.0) * (self.s.psnr_db - self.s.start_psnr_db)


def train(
    data: Path,
    targets: Mapping[str, Target],
    detectors: Mapping[str, nn.Module],
    out: Path,
    minutes: float,
    resume: bool,
    device: str,
    settings: Settings | None = None,
    notes: Mapping[str, Any] | None = None,
    start: Path | None = None,
) -> Run:
    """Train P for `minutes` against named targets and detectors. `notes` are kept in the run, for the card.

    A new run begins with the weights of the run `start`, where one is named. Such a run, also where it is resumed, and
    one that is resumed without `plan_minutes`, is at its final budget from the first step: the strength anneals once.
    """
    settings = settings or Settings()
    seed_everything(settings.seed)
    place = pick_device(device)
    trainer = DisrupterTrainer(
        settings,
        data,
        {name: target.to(place) for name, target in targets.items()},
        {name: detector.to(place).eval().requires_grad_(False) for name, detector in detectors.items()},
        place,
    )
    run = Run.of(out, settings, minutes, NAME, {"data": described(data), **(notes or {})})
    begun = begun_with_another(out, start, resume)
    if start is not None:
        load_part(start, "p", trainer.p)
        draw_on(trainer.rng, settings.seed, [start])
    if resume:
        run.resume(trainer.parts, trainer.rng)
    anneal, trainer.steps = not begun and (bool(settings.plan_minutes) or run.step == 0), run.step
    mean: dict[str, float] = {}
    for _ in run.steps(trainer.parts):
        done = share_done(run, settings)
        for group in trainer.opt.param_groups:
            group["lr"] = settings.lr * max(0.03, min(1.0, 2.2 * (1 - done)))
        report = trainer.step(done if anneal else 1.0)
        mean |= {k: 0.98 * mean.get(k, v) + 0.02 * v for k, v in report.items()}
        run.tick(mean, trainer.parts)
    run.save(trainer.parts)
    return run


def begun_with_another(out: Path, start: Path | None, resume: bool) -> bool:
    """Whether the run began, or begins now, with another's weights. Raises UsageError where it is too late for that."""
    if not resume or not (out / "state.pt").exists():
        return start is not None
    begun = any("start" in note for note in stored(out).notes[:1])
    if start is not None and not begun:
        raise UsageError(
            f"{out} holds a run that did not begin with another: resume it without --start, or choose another --out"
        )
    return begun


def numbers(text: str) -> list[float]:
    """`1,3` as numbers. Raises UsageError for anything else."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise UsageError(f"shares are numbers with commas between them, such as 1,3, got {text!r}") from None


def clip_frames(data: Path, size: int, device: torch.device) -> Tensor:
    """(M, 3, size, size) uint8: every other frame of the clips of the train split. Raises UsageError without any."""
    found = [torch.from_numpy(clip.frames[::2]).permute(0, 3, 1, 2) for clip in read_clips(data, ["train"])]
    if not found:
        raise UsageError(f"{data} holds no clips to train on: pack it with --clips, or leave the setting clips at 0")
    return torch.cat([delivery.resize(frames / 255, size).mul(255).round().byte() for frames in found]).to(device)


def share_done(run: Run, settings: Settings) -> float:
    """0 to 1: of the whole run where it was planned, else of this call."""
    if not settings.plan_minutes:
        return run.progress
    return min(run.spent_seconds / 60 / settings.plan_minutes, 1.0)


def network_of(settings: Settings) -> Disrupter:
    return Disrupter(settings.epsilon_levels / 255, settings.width, settings.psnr_db, settings.colour)


def load(folder: Path) -> Disrupter:
    """The trained P of a run, frozen."""
    settings = settings_of(folder, Settings)
    network = network_of(settings)
    load_part(folder, "p", network)
    return network.eval().requires_grad_(False)
