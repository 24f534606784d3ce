"""Real clips through the product itself: `python -m engines.evaluation.clips CLIP... --data PACK > results/clips.json`.

Each clip is protected by the default pipeline, transcoded plainly with the same settings, and audited: what the shipped
commands do. Clips of people in the packs' train split are counted apart: a network is sturdier on those it has seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from stream_guard.audit.probes import load_probes
from stream_guard.audit.run import AuditOptions, audit
from stream_guard.config import load_pipeline
from stream_guard.errors import EngineError, StreamGuardError
from stream_guard.inference import list_engines
from stream_guard.media import EncoderSettings, transcode
from stream_guard.protect import protect_file

from ..data.clips import person_of, read_clips
from .asked import whose
from .machine import machine


def examine(clip: Path, folder: Path, encoder: EncoderSettings, samples: int) -> dict[str, Any] | None:
    """One clip's figures; None where no face was found in it."""
    ours, plain = folder / "ours.mp4", folder / "plain.mp4"
    report = protect_file(clip, ours, load_pipeline("protect"), encoder=encoder, overwrite=True)
    if not report.faces:
        return None
    transcode(str(clip), str(plain), encoder, overwrite=True)
    probes = load_probes(None)
    result = audit(clip, ours, probes, reference=plain, options=AuditOptions(samples=samples))
    summary: dict[str, Any] = dict(result.summary)
    return {
        "clip": clip.stem,
        "frames": report.frames_out,
        "faces": report.faces,
        "protected_faces": report.protected_faces,
        "head_width_px": round(summary["head_width_px"]["median"]),
        "generators": {
            name: {
                "pairs": probe["pairs"],
                "disrupted": round(probe["disrupted"], 4),
                "l2_mean": round(probe["l2_mean"], 4),
                "control_disrupted": probe["control"]["disrupted"],
            }
            for name, probe in summary["generators"].items()
        },
        "face_net_psnr_db": round(summary["face"]["net_psnr_db"], 2),
        "face_ssim": round(summary["face"]["ssim"], 4),
        "bitrate_ratio": round(summary["bitrate_ratio"], 4),
        "flicker": round(summary["flicker"], 3),
        "flicker_reference": round(summary["flicker_reference"], 3),
    }


def over_clips(found: list[dict[str, Any]]) -> dict[str, Any]:
    """All clips' pairs of one generator together."""
    pairs = sum(one["pairs"] for one in found)
    return {
        "pairs": pairs,
        "disrupted": round(sum(one["disrupted"] * one["pairs"] for one in found) / pairs, 4),
        "l2_mean": round(sum(one["l2_mean"] * one["pairs"] for one in found) / pairs, 4),
    }


def grouped(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All clips' pairs by generator: of strangers, and of people that a network learned from."""
    groups = {"strangers": [r for r in rows if not r["seen"]], "seen": [r for r in rows if r["seen"]]}
    return {
        name: {probe: over_clips([row["generators"][probe] for row in part]) for probe in part[0]["generators"]}
        for name, part in groups.items()
        if part
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="the packs that the networks learned from")
    parser.add_argument("--crf", type=float, default=20)
    parser.add_argument("--samples", type=int, default=8)
    given = parser.parse_args(arguments)
    if missing := [str(clip) for clip in given.clips if not clip.exists()]:
        parser.error(f"there is no {', '.join(missing)}")  # before the others are measured
    encoder = EncoderSettings(codec="libx264", preset="veryfast", crf=given.crf)
    known = {clip.person for pack in given.data for clip in read_clips(pack, ["train"])}
    others = [card.title for card in list_engines() if card.kind == "generator" and not card.surrogate]
    rows = []
    with tempfile.TemporaryDirectory(prefix="stream-guard-") as folder:
        for clip in given.clips:
            found = examine(clip, Path(folder), encoder, given.samples)
            if found is None:
                print(f"{clip}: no face was found in it; it is left out", file=sys.stderr, flush=True)
                continue
            rows.append({**found, "seen": person_of(clip.stem) in known})
            print(rows[-1], file=sys.stderr, flush=True)
    if not rows:
        raise EngineError("no face was found in any of the clips")
    result = {
        "command": f"python -m engines.evaluation.clips CLIP... --data PACK --crf {given.crf:g} "
        f"--samples {given.samples}",
        "note": f"the generators are {whose(others)}",
        "machine": machine(),
        "encoder": "libx264 veryfast",
        "clips": len(rows),
        "groups": grouped(rows),
        "rows": rows,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    try:
        main()
    except StreamGuardError as error:
        sys.exit(f"clips: {error}")
