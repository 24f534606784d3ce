"""From the zoo back to a run folder: `python -m engines import`, the way back of `export`.

So the networks that ship can be measured, attacked and trained on without the hours that made them. An exporter folds
a batch norm into the convolution before it; it comes back as a norm with the statistics of a pack's heads, or of noise.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from stream_guard.errors import EngineError, UsageError
from stream_guard.inference.card import Card

from .data import pack
from .data.heads import HEAD_SHARE, crop, crop_theta
from .detectors.architectures import ARCHITECTURES, architecture
from .detectors.learner import Best
from .detectors.registry import settings_kind
from .disrupter import train as disrupter
from .export import PARITY_ATOL, parity
from .generators.families import FAMILIES
from .magdr import train_perturbation, train_restorer
from .magdr.restorer import Restorer
from .norms import settle
from .packing import PACKED
from .parser import train_parser
from .parser.network import FaceParser, Parsing
from .training import ADOPTED, IMPORTED, Run, as_settings

EXAMPLES = 8
UNNAMED = "onnx::"
"""How an exporter calls what it made itself: the weights and biases that have a norm folded into them."""

Fold = tuple[nn.Module, nn.BatchNorm2d]


@dataclass
class Blank:
    """An untrained network: the run's parts, the whole as it is exported, and what to do once the whole is filled."""

    parts: dict[str, Any]
    whole: nn.Module
    finish: Callable[[], None] = lambda: None


def unship(card: Card, out: Path, data: Path | None = None) -> Run:
    """Write the network of a zoo card as a run in `out`: for --targets, --fakes, --start, evaluate and export.

    `data` is a pack: First Order Motion takes its driving frames from it, and norms their statistics. Such a run has
    weights and no optimiser.
    Raises UsageError where the card tells of no run, EngineError where the weights do not give the ONNX model's output.
    """
    name, settings = _made_by(card)
    blank = _filled(card, name, settings, data)
    blank.finish()
    notes: dict[str, Any] = {IMPORTED: {card.name: {"name": name, "steps": _steps(card), "sha256": card.sha256}}}
    if "checkpoint_file" in card.results:
        notes[ADOPTED] = {key: card.results[f"checkpoint_{key}"] for key in ("file", "sha256")}
    run = Run(out, dict(settings.__dict__), 0, _steps(card), _seconds(card), name=name, notes=notes)
    run.save(blank.parts)
    return run


def network(card: Card) -> nn.Module:
    """The network of a card as it was exported, in torch, for gradients. Errors as those of `unship`."""
    return _filled(card, *_made_by(card), None).whole


def _filled(card: Card, name: str, settings: Any, data: Path | None) -> Blank:
    blank = _blank(name, settings, data)
    example = _example(card)
    pictures = tuple((example | _faces(card, data)).values()) if data else None
    fill(blank.whole, card.model_path, tuple(example.values()), pictures)
    found = parity(blank.whole, example, card.model_path)
    if found > PARITY_ATOL:
        raise EngineError(f"{card.name}: its weights give another output than its ONNX model (by {found:.1e})")
    return blank


def fill(
    whole: nn.Module, model: Path, example: tuple[Tensor, ...], pictures: tuple[Tensor, ...] | None = None
) -> None:
    """Put the weights of an ONNX model into the network that it was exported from, in place.

    Norms take their statistics from `pictures`: a network that is to be trained on wants real ones.
    Raises EngineError where the two have another number of folded norms.
    """
    graph = onnx.load(model).graph
    stored = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0].endswith(PACKED):
            stored[node.output[0]] = stored.pop(node.input[0]).float()
        elif node.op_type == "Identity" and node.input[0] in stored:  # equal weights are kept once, and passed on
            stored[node.output[0]] = stored[node.input[0]]
    own = whole.state_dict()
    for name, key in _names(stored, own).items():
        if own[key].shape == stored[name].shape:
            own[key].copy_(stored[name])
    folds = _folds(whole, example)
    nodes = [n for n in graph.node if n.op_type in ("Conv", "ConvTranspose") and n.input[1].startswith(UNNAMED)]
    if len(nodes) != len(folds):
        raise EngineError(f"{model} has {len(nodes)} convolutions with a norm folded in, the network {len(folds)}")
    for node, (convolution, norm) in zip(nodes, folds, strict=True):
        weight, bias = stored[node.input[1]], stored[node.input[2]]
        if weight.shape != convolution.weight.shape:
            raise EngineError(f"{model}: {node.name} has weights {tuple(weight.shape)}, not of this network")
        _unfold(convolution, norm, weight, bias)
    settle([norm for _, norm in folds], lambda: whole(*(pictures or example)))


def _names(stored: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """The state's name of each initializer: an exporter leaves a wrapper's prefix away, or adds one."""
    names, keys = list(stored), set(own)

    def told(less: str, more: str) -> dict[str, str]:
        found = {name: more + name.removeprefix(less) for name in names}
        return {name: key for name, key in found.items() if key in keys}

    first = {"", *(name.partition(".")[0] + "." for name in (*names, *keys))}
    return max((told(less, more) for less in sorted(first) for more in sorted(first)), key=len)


def _folds(whole: nn.Module, example: tuple[Tensor, ...]) -> list[Fold]:
    """The convolutions whose output goes straight into a batch norm, with it, in the order of the forward pass."""
    found: list[Fold] = []
    last: list[Any] = [None, None]

    def convolved(module: nn.Module, _: Any, output: Tensor) -> None:
        last[:] = module, output

    def normed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0] is last[1] and isinstance(module, nn.BatchNorm2d):
            found.append((last[0], module))

    hooks = [
        m.register_forward_hook(convolved) for m in whole.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    hooks += [m.register_forward_pre_hook(normed) for m in whole.modules() if isinstance(m, nn.BatchNorm2d)]
    _run(whole, example, hooks)
    return found


def _unfold(convolution: nn.Module, norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor) -> None:
    """The convolution with the folded weights, the norm as identity; the bias goes where there is room for it."""
    with torch.no_grad():
        convolution.weight.copy_(weight)  # type: ignore[operator]
        norm.weight.fill_(1.0)
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
        own = getattr(convolution, "bias", None)
        (norm.bias if own is None else own).copy_(bias)
        if own is not None:
            norm.bias.zero_()


def _run(whole: nn.Module, example: tuple[Tensor, ...], hooks: list[Any]) -> None:
    try:
        with torch.no_grad():
            whole(*example)
    finally:
        for hook in hooks:
            hook.remove()


def _made_by(card: Card) -> tuple[str, Any]:
    """The trained network's name and settings, as the card tells them."""
    words = card.command.split()
    made = next((verb for verb in ("train", "adopt") if verb in words[:-1]), None)
    name = words[words.index(made) + 1] if made else ""
    others = {module.NAME: module for module in (disrupter, train_parser, train_perturbation, train_restorer)}
    kinds: dict[str, Any] = {**FAMILIES, **others}
    if (name not in kinds and name not in ARCHITECTURES) or "settings" not in card.results:
        raise UsageError(
            f"{card.name} was not exported from a training run: its card's command is {card.command or 'none'!r}. Only "
            "what `engines train` or `engines adopt` made, with its settings on the card, comes back as a run; of an "
            "engine in 8-bit integers take the one that it was made from"
        )
    kind = settings_kind(name) if name in ARCHITECTURES else kinds[name].Settings
    return name, as_settings(json.loads(str(card.results["settings"])), kind, card.name)


def _steps(card: Card) -> int:
    return int(card.results.get("steps", 0))


def _seconds(card: Card) -> float:
    return 60 * float(card.results.get("training_minutes", 0))


def _example(card: Card) -> dict[str, Tensor]:
    """Inputs for the comparison, by name: noise in the card's ranges, and the conditions that the card names."""
    rng = np.random.default_rng(0)
    example = {}
    for spec in card.inputs:
        low, high = spec.range or (0.0, 1.0)
        values = rng.uniform(low, high, (EXAMPLES, *spec.shape[1:])).astype(np.float32)
        if spec.name == "condition" and card.conditions:
            values = np.resize(np.array(card.conditions.rows, np.float32), values.shape)
        example[spec.name] = torch.from_numpy(values)
    return example


def _faces(card: Card, data: Path) -> dict[str, Tensor]:
    """Heads of the pack's train split for each input that is a picture, by name."""
    heads = [head.rgb for head in pack.read(data, ["train"])[:EXAMPLES]]
    if len(heads) < EXAMPLES:
        return {}
    whole = torch.from_numpy(np.stack(heads)).permute(0, 3, 1, 2) / 255
    found = {}
    for spec in card.inputs:
        if len(spec.shape) == 4:
            (low, high), side = spec.range or (0.0, 1.0), int(spec.shape[-1])
            found[spec.name] = low + (high - low) * crop(whole, crop_theta(EXAMPLES, HEAD_SHARE, 0.0, None), side)
    return found


def _blank(name: str, settings: Any, data: Path | None) -> Blank:
    if name in FAMILIES:
        return _generator(name, settings, data)
    if name == disrupter.NAME:
        network = disrupter.network_of(settings).eval()
        return Blank({"p": network}, network)
    if name == train_parser.NAME:
        parser = FaceParser(settings.width).eval()
        return Blank({"network": parser}, Parsing(parser).eval())
    if name == train_restorer.NAME:
        restorer = Restorer(settings.width).eval()
        return Blank({"mean": train_restorer.averaged(restorer)}, restorer)
    built = train_perturbation.NETWORK if name == train_perturbation.NAME else name
    best = Best(architecture(built).detector(settings.width, settings.size))
    best.published()
    return Blank({"best": best}, best.detector)


def _generator(name: str, settings: Any, data: Path | None) -> Blank:
    """Its target, as an attacker and the exporter run it, from a scratch run."""
    parts = FAMILIES[name].blank(settings, data)
    with tempfile.TemporaryDirectory() as folder:
        Run(Path(folder), dict(settings.__dict__), 0, name=name).save(parts)
        whole = FAMILIES[name].target(Path(folder), data)

    def finish() -> None:
        for part in parts.values():
            if isinstance(part, nn.Module):
                part.load_state_dict(_holding(whole, part).state_dict(), strict=False)

    return Blank(parts, whole, finish)


def _holding(whole: nn.Module, part: nn.Module) -> nn.Module:
    """The module of `whole` that has all weights of `part` by their names: some stand in a wrapper, others do not."""
    wanted = dict(part.named_parameters()).keys()
    return next(module for module in whole.modules() if wanted <= dict(module.named_parameters()).keys())
