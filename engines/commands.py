"""What `python -m engines` does, one function a command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from stream_guard.errors import UsageError

from . import shipping
from .data import pack as packs
from .data.detect import still_detector
from .data.heads import HEAD_SHARE, Heads, crop, crop_theta
from .data.media import listed
from .disrupter import train as disrupter
from .evaluation import run as evaluation
from .export import use_instance_statistics
from .generators import train_stargan as stargan

TRAINABLE = {"stargan": stargan.Settings, "disrupter": disrupter.Settings}

S = TypeVar("S")


def pack(arguments: argparse.Namespace) -> None:
    rows = listed(arguments.media, arguments.synthetic, still_detector())
    print(json.dumps(packs.build(rows, arguments.out)))


def train(arguments: argparse.Namespace) -> None:
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    out = arguments.out or Path("runs") / arguments.name
    settings = with_changes(TRAINABLE[arguments.name](), arguments.set)
    common = (out, arguments.minutes, arguments.resume, arguments.device, settings)
    if arguments.name == "stargan":
        stargan.train(arguments.data, *common)
    else:
        target = use_instance_statistics(stargan.load(arguments.target))
        disrupter.train(arguments.data, [target], torch.tensor(shipping.CONDITIONS), *common)


def sheet(arguments: argparse.Namespace) -> None:
    """Rows: the original, then each condition; columns: held-out faces."""
    heads = Heads(packs.read(arguments.data, ["test"], with_mask=True)[:8], torch.device("cpu"))
    generator = use_instance_statistics(stargan.load(arguments.generator))
    x = crop(heads.rgb.float() / 255, crop_theta(len(heads), HEAD_SHARE, 0.0, None), 128).clamp(0, 1)
    rows = [x]
    for condition in torch.tensor(shipping.CONDITIONS):
        rows.append((generator(x * 2 - 1, condition.expand(len(x), -1)) + 1) / 2)
    picture = torch.cat([torch.cat(list(row), 2) for row in rows], 1).permute(1, 2, 0)
    Image.fromarray((picture.detach().numpy() * 255).round().astype(np.uint8)).save(arguments.out)
    print(arguments.out)


def export(arguments: argparse.Namespace) -> None:
    source = arguments.source or Path("runs") / arguments.name
    print(shipping.ship(arguments.name, source))


def evaluate(arguments: argparse.Namespace) -> None:
    generator = use_instance_statistics(stargan.load(arguments.target))
    stills = evaluation.held_out(arguments.media, arguments.faces, arguments.seed)
    rows = evaluation.table(
        stills, min(arguments.bound_faces, len(stills)), generator, arguments.widths, arguments.crf, arguments.seed
    )
    command = "python -m engines " + shlex.join(sys.argv[1:]).replace(str(arguments.media), "MEDIA")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({**evaluation.facts(arguments.seed, command), "rows": rows}, indent=1) + "\n")
    print(arguments.out)


def with_changes(settings: S, changes: list[str]) -> S:
    """Settings with KEY=VALUE changes of the field's own type. Raises UsageError listing the keys there are."""
    fields = {f.name: type(getattr(settings, f.name)) for f in dataclasses.fields(settings)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for change in changes:
        key, _, text = change.partition("=")
        if key not in fields:
            raise UsageError(f"unknown setting {key!r}; choose one of: {', '.join(sorted(fields))}")
        try:
            values[key] = text.lower() in ("1", "true", "yes") if fields[key] is bool else fields[key](text)
        except ValueError as error:
            raise UsageError(f"setting {key} takes a {fields[key].__name__}, got {text!r}") from error
    return dataclasses.replace(settings, **values)  # type: ignore[type-var]
