"""The figures of an audit in plain words, for the terminal and for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..wording import counted
from .result import AuditResult

EVIDENCE = "What they do is evidence about these networks, not a promise about others."
SURROGATE = (
    "The generators asked here are surrogates: networks of published architectures that this project trained itself, "
    f"for evaluation only. {EVIDENCE}"
)
ADOPTED = "Not trained by this project: {names}. Their cards say where the weights come from."


@dataclass(frozen=True)
class Row:
    """One figure: what it is, its value with the unit, and a note on how to read it."""

    what: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is said of one generator; `reached` is None where nothing was measured."""

    headline: str
    detail: str
    reached: bool | None


def share(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.0f} %"


def number(value: float | None, unit: str, digits: int, missing: str = "not measured") -> str:
    return missing if value is None else f"{value:.{digits}f}{unit}"


def verdicts(result: AuditResult) -> list[Verdict]:
    """One verdict a generator."""
    generators: Any = result.summary["generators"]
    if not generators:
        return [Verdict("No generator was asked", "The zoo holds none, or none was chosen.", None)]
    return [_verdict(figures) for figures in generators.values()]


def _verdict(figures: Any) -> Verdict:
    if figures["disrupted"] is None:
        return Verdict(f"{figures['title']}: nothing to measure", "No face was found in the sampled frames.", None)
    low, high = figures["ci95"]
    detail = (
        f"{counted(figures['pairs'], 'edit')} tried; 95 % interval {100 * low:.0f} to {100 * high:.0f} %; "
        f"aim {share(figures['target'])}; mean L2 {figures['l2_mean']:.3f}, an edit counts from {figures['threshold']}."
    )
    if control := figures.get("control"):
        detail += f" A plain re-encode alone disrupts {share(control['disrupted'])} (mean L2 {control['l2_mean']:.3f})."
    if left := figures.get("after_magdr"):
        low, high = left["ci95"]
        detail += (
            f" After MagDR's reconstructor {share(left['disrupted'])} are left (95 % interval {100 * low:.0f} to "
            f"{100 * high:.0f} %, mean L2 {left['l2_mean']:.3f})."
        )
    worst = figures["worst_track"]
    detail += f" The face protected least: {share(worst['disrupted'])}."
    headline = f"{figures['title']} fails on {share(figures['disrupted'])} of its edits"
    return Verdict(headline, detail, figures["disrupted"] >= figures["target"])


def asked(result: AuditResult) -> str:
    """What kind of networks the generators are: our surrogates, others' weights, or some of each."""
    generators: Any = result.summary["generators"]
    others = [figures["title"] for figures in generators.values() if not figures["surrogate"]]
    if not others:
        return SURROGATE
    rest = SURROGATE.replace("The generators", "The other generators") if len(others) < len(generators) else EVIDENCE
    return f"{ADOPTED.format(names=', '.join(others))} {rest}"


def rows(result: AuditResult) -> list[Row]:
    """The figures beside the generators'."""
    summary: Any = result.summary
    table = [
        Row("Frames compared", str(summary["frames"]), _unpaired(summary["unpaired"])),
        Row("Faces in them", str(summary["faces"]), f"{summary['tracks']} followed; {_widths(summary)}"),
    ]
    for region, name in (("face", "Head region"), ("frame", "Whole frame")):
        table += _quality(name, summary[region])
    table.append(Row("Bit rate", number(summary["bitrate_ratio"], " times", 3), f"the {_against(summary)}"))
    note = "how much the change moves within a face, in 8-bit levels; lower is calmer"
    if "flicker_reference" in summary:
        note += f"; a plain re-encode: {number(summary['flicker_reference'], '', 2)}"
    table.append(Row("Flicker", number(summary["flicker"], "", 2), note))
    return table


def _quality(name: str, figures: Any) -> list[Row]:
    if figures["ssim"] is None and figures["psnr_db"] is None:
        return [Row(f"{name}: PSNR, SSIM", "not measured", "nothing of it was seen")]
    psnr = Row(
        f"{name}: PSNR",
        number(figures["psnr_db"], " dB", 2, "identical"),
        f"RGB, one error over the clip; luma {number(figures['luma_psnr_db'], ' dB', 2, 'identical')}",
    )
    table = [psnr]
    if "net_psnr_db" in figures:
        plain = number(figures["reference_psnr_db"], " dB", 2, "identical")
        net = number(figures["net_psnr_db"], " dB", 2, "no loss of its own")
        table.append(Row(f"{name}: PSNR of the protection alone", net, f"the plain re-encode ({plain}) subtracted"))
    table.append(Row(f"{name}: SSIM", number(figures["ssim"], "", 4), "luma, Gaussian window, sampled frames"))
    return table


def _against(summary: Any) -> str:
    if summary["bitrate_against"] == "reference":
        return "plain re-encode with the same settings"
    return "original, which was encoded otherwise: give a reference to compare like with like"


def _widths(summary: Any) -> str:
    widths = summary["head_width_px"]
    if widths is None:
        return "no face found"
    return f"heads {widths['min']:.0f} to {widths['max']:.0f} px wide, median {widths['median']:.0f}"


def _unpaired(unpaired: dict[str, int]) -> str:
    missing = [f"{count} of the {name}" for name, count in unpaired.items() if count]
    return "paired by timestamp; " + (
        f"without a partner: {', '.join(missing)}" if missing else "none without a partner"
    )


def notes(result: AuditResult) -> list[str]:
    """On what and how it was measured."""
    summary: Any = result.summary
    said = [
        f"{clip.name}: {clip.description}."
        for clip in (result.original, result.protected, result.reference)
        if clip is not None
    ]
    said.append("Everything is measured on the decoded 8-bit video, as a viewer or an attacker gets it.")
    said.append(asked(result))
    said.append(
        f"One in {summary['every']} of the paired frames was given to the generators ({summary['sampled']} in all), "
        "each face cut out as such a network is fed: the head with its hair."
    )
    said.append(
        "The interval takes the samples of one face within one second as related. It speaks of the moments of this "
        "clip, not of other people or other videos."
    )
    return said + warnings(result)


def warnings(result: AuditResult) -> list[str]:
    """What a reader must know to take the figures for what they are."""
    summary: Any = result.summary
    said: list[str] = [*summary["warnings"]]
    if result.reference is None:
        said.append("no plain re-encode was given: the loss of encoding itself is part of all figures, not subtracted")
    return said
