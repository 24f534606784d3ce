"""What a card says of a run in words: the command that makes its like, what it learned from and against."""

from __future__ import annotations

from typing import Any

from .training import ADOPTED, Stored


def command(defaults: Any, found: Stored) -> str:
    """The command that makes such a run, in one go: folders by name, the settings that are not the defaults."""
    last = found.notes[-1] if found.notes else {}
    minutes = max(1, round((found.seconds - last.get("joined_seconds", 0.0)) / 60))
    if "joined_seconds" in last and found.step == sum(begun["steps"] for begun in last["start"].values()):
        minutes = 0  # it was joined, and its threshold set
    words = ["python -m engines train", found.name, "--data PACK", f"--minutes {minutes}"]
    for kind in ("targets", "detectors", "fakes", "purify", "start", "teacher"):
        if names := list(last.get(kind, {})):
            words.append(f"--{kind} " + " ".join(f"runs/{name}" for name in names))
    changed = {k: v for k, v in found.settings.items() if getattr(defaults, k, None) != v}
    return " ".join([*words, *(f"--set {k}={v}" for k, v in sorted(changed.items()))])


def learned_from(found: Stored, ours: str) -> str:
    """The stills that the run noted, and what `ours` says after its first semicolon; runs of before noted none."""
    noted = found.notes[-1].get("data") if found.notes else None
    return f"{noted}; of these the {ours.partition('; ')[2]}" if noted else ours


def sources(found: Stored) -> str:
    """The stills that a run learned from, as its last call noted them."""
    return str(found.notes[-1].get("data", "not recorded")) if found.notes else "not recorded"


def against(found: Stored) -> str:
    """What the disrupter was trained against, in words: every generator and detector of any of its calls."""
    if not found.notes:
        return "What it was trained against was not recorded."
    said = [f"Trained against {generators(found, 'targets')} only; says nothing of others."]
    if any(row.get("start") for row in found.notes):
        begun = {name: facts["steps"] for row in found.notes for name, facts in row.get("start", {}).items()}
        said.append("Began with the weights of " + ", ".join(f"{n} ({k} steps)" for n, k in begun.items()) + ".")
    if any(row.get("detectors") for row in found.notes):
        said.append(f"Detectors in training: {listed(found, 'detectors')}.")
    return " ".join(said)


def generators(found: Stored, kind: str) -> str:
    """The generators that a run met, called surrogates unless some of them have others' weights."""
    facts = [given for row in found.notes for given in row.get(kind, {}).values()]
    ours = not any(ADOPTED in given for given in facts)
    return f"{'our own surrogates' if ours else 'the generators'} {listed(found, kind)}"


def listed(found: Stored, kind: str) -> str:
    """Every generator or detector (`kind`) that a run met, by name, with its network."""
    met = {name: facts for row in found.notes for name, facts in row.get(kind, {}).items()}
    return ", ".join(
        f"{name} ({facts['name']}{', weights of ' + facts[ADOPTED] if ADOPTED in facts else ''})"
        for name, facts in met.items()
    )


def origin(found: Stored) -> dict[str, str]:
    """Whose weights were adopted: file, sha256 and the like. Empty for a run of our own."""
    return (found.notes[-1].get(ADOPTED) or {}) if found.notes else {}
