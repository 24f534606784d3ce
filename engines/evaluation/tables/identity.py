"""The identity that survives: cosines of embeddings between G(x) and G(x + d), and between x and x + d.

Low between the edits means that the fake is no longer of that person; high between the inputs means that the protected
picture still is.
"""

from __future__ import annotations

import itertools

import numpy as np

from stream_guard.errors import UsageError

from ..figures import mean
from ..identity_network import Identity, cosines
from .bench import Bench, Generator
from .disruption import METHODS, about
from .document import Columns, Rows

Embedded = tuple[np.ndarray, np.ndarray]


def identity(bench: Bench) -> Rows:
    """Rows: the control, PGD and the disrupter, on each generator, conditions in turn over the faces."""
    if bench.arguments.identity is None:
        raise UsageError("the table 'identity' needs --identity PATH: an ONNX network that embeds faces of 112 px")
    network, rows = Identity(bench.arguments.identity, bench.arguments.threads or 1), Rows()
    for generator in bench.generators:
        clean = {crop: embedded(bench, generator, network, crop) for crop in {1.0, *(c.crop for c in bench.channels)}}
        original, edited = clean[1.0]
        for method in ("none", "pgd", "ours"):
            rows.add(
                {**about(generator), "method": METHODS[method], "face_px": bench.width},
                columns(bench, generator, method, network, clean),
            )
        rows.notes.append(
            f"{generator.name}: cosine between a face and its undisturbed edit {cosines(original, edited).mean():.2f}"
        )
    rows.notes.append(f"Between different people: {strangers(original):.2f}." if bench.generators else "")
    return rows


def embedded(bench: Bench, generator: Generator, network: Identity, crop: float) -> Embedded:
    """Of the originals, cropped as the attacker crops, and of their undisturbed edits."""
    clean = bench.deliveries.clean(bench.width, generator.target.size, crop)
    return network.embed(clean), network.embed(bench.edit(generator, clean, bench.pairs(generator, 1)[1]))


def columns(
    bench: Bench, generator: Generator, method: str, network: Identity, clean: dict[float, Embedded]
) -> Columns:
    made = bench.method(method, generator if method == "pgd" else None)
    indices = bench.pairs(generator, 1)[1]
    out: Columns = {}
    bench.deliveries.need(made, bench.width)
    bench.progress.begin(f"identity: {made.name} by {generator.name}", len(bench.channels))
    for channel in bench.channels:
        seen = bench.deliveries.heads(made, bench.width, channel, generator.target.size)
        inputs = cosines(clean[channel.crop][0], network.embed(seen))
        edits = cosines(clean[channel.crop][1], network.embed(bench.edit(generator, seen, indices)))
        out[channel.name] = {
            "edits": mean(edits, bench.names, bench.seed),
            "inputs": mean(inputs, bench.names, bench.seed),
        }
        bench.progress.tick()
    return out


def strangers(vectors: np.ndarray) -> float:
    """The mean cosine between faces of different pictures."""
    pairs = list(itertools.combinations(range(len(vectors)), 2))
    return float(np.mean([vectors[a] @ vectors[b] for a, b in pairs])) if pairs else 0.0
