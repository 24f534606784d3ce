"""`python -m engines evaluate detection`: tables I to IV and figure 6, in steps that are kept and taken up again.

Everything lies in `--work`: pictures.pt, networks/NAME.pt, perturbed/NAME-ATTACK.pt. A step whose result is there is
not repeated; delete the file to repeat it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from stream_guard.errors import UsageError

from ...arguments import add_threads
from ...data.origin import described
from ...invocation import invocation
from ...training import seed_everything
from ...writing import write_json
from ..machine import machine
from . import agreement, data, defence, library, networks, shipping, tables
from . import drawn as drawing
from .merging import TABLE, held, merged, of_the_same
from .networks import Trained
from .perturbed import ATTACKS, Effort, Perturbed, make
from .recipes import RECIPES

RESULTS = Path(__file__).resolve().parents[1] / "results" / "fooling_detectors.json"
STEPS = ("pictures", "networks", "attacks", "library", "suite", "prior", "agreement")

SAME_PEOPLE = 8
"""Of the val split, on whom the paper's slow prior gets its iteration; each is a real, a fake and an attacked fake."""


def add(parser: argparse.ArgumentParser) -> None:
    effort = Effort()
    parser.add_argument("--data", type=Path, required=True, help="a data pack")
    parser.add_argument("--fakes", type=Path, nargs="+", required=True, metavar="DIR", help="run folders of generators")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="what is made on the way is kept here")
    parser.add_argument("--networks", nargs="+", default=list(RECIPES), choices=list(RECIPES), metavar="NAME")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS, metavar="STEP")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures and networks in pixels")
    parser.add_argument("--minutes", type=float, default=15.0, help="for training one network at most")
    parser.add_argument("--half", action="store_true", help="train in bfloat16: sooner where the processor has it")
    parser.add_argument("--cw-faces", type=int, default=effort.faces)
    parser.add_argument("--cw-steps", type=int, default=effort.search_steps, help="of the binary search (paper: 5)")
    parser.add_argument("--cw-iterations", type=int, default=effort.iterations, help="of each step (paper: 1000)")
    parser.add_argument("--cw-confidence", type=float, default=effort.confidence, help="kappa (paper: 200)")
    parser.add_argument("--near", type=float, default=effort.near, help="a second, small kappa: pictures close by")
    parser.add_argument("--near-iterations", type=int, default=effort.near_iterations)
    parser.add_argument("--library-faces", type=int, default=8, help="for the comparison with foolbox")
    parser.add_argument("--library-steps", type=int, default=5)
    parser.add_argument("--library-iterations", type=int, default=100)
    parser.add_argument("--suite-faces", type=int, default=48)
    parser.add_argument("--suite-networks", nargs="*", default=list(RECIPES), metavar="NAME")
    parser.add_argument("--suite-iterations", type=int, default=50)
    parser.add_argument("--suite-queries", type=int, default=500)
    parser.add_argument("--prior-reals", type=int, default=100, help="reals for tables III and IV, and as many fakes")
    parser.add_argument("--prior-networks", nargs="*", default=["prior", "blurred"], metavar="NAME")
    parser.add_argument(
        "--second",
        nargs=2,
        action="append",
        default=[],
        metavar=("FIRST", "BEHIND"),
        help="a second opinion: the network that is attacked and asked first, and the one asked behind the prior",
    )
    parser.add_argument(
        "--as",
        dest="zoo_name",
        metavar="ENGINE",
        help="put the network behind the prior of the last --second into the zoo under this name",
    )
    parser.add_argument("--drawn-people", type=int, default=80, help="whose drawn pictures a network learns from")
    parser.add_argument("--prior-people", type=int, default=24, help="of the val split, to choose the threshold on")
    parser.add_argument("--prior-batch", type=int, default=16)
    parser.add_argument("--same-pictures", type=int, default=32, help="through the paper's slow prior too (agreement)")
    parser.add_argument("--figure-iterations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    add_threads(parser)
    parser.add_argument("--out", type=Path, default=RESULTS)


def run(arguments: argparse.Namespace) -> None:
    """Run the steps asked for and write what is known so far. Raises UsageError where an earlier step is missing."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    seed_everything(arguments.seed)
    start = time.monotonic()
    arguments.work.mkdir(parents=True, exist_ok=True)
    before = held(arguments.out)
    pictures = _pictures(arguments)
    made = _facts(arguments, pictures)
    if before.keys() > {"table"} and not of_the_same(before, made):
        _say(f"{arguments.out} has figures of other pictures or another seed: they give way to those of this call")
    trained = [t for name in arguments.networks if (t := _network(arguments, pictures, name)) is not None]
    made["networks"] = [{"network": t.name, **t.facts} for t in trained]
    made["table1"] = tables.table1(trained, pictures.test)
    _attacks(arguments, pictures, trained, made)
    made["seconds"] = round(time.monotonic() - start, 1)
    _write(arguments.out, made)
    print(arguments.out)
    if arguments.zoo_name:
        print(_shipped(arguments, pictures, trained))


def _shipped(arguments: argparse.Namespace, pictures: data.Pictures, trained: list[Trained]) -> Path:
    used = list(_defences(arguments, pictures, trained))
    if not used or used[-1].alone:
        raise UsageError("--as needs --second FIRST BEHIND, both of them among --networks and trained")
    return shipping.ship(used[-1], arguments.zoo_name, json.loads(arguments.out.read_text(encoding="utf-8")))


def _pictures(arguments: argparse.Namespace) -> data.Pictures:
    path = arguments.work / "pictures.pt"
    if not path.exists():
        _needs(arguments, "pictures", path)
        data.save(data.make(arguments.data, arguments.fakes, arguments.size, arguments.seed), path)
    return data.load(path)


def _network(arguments: argparse.Namespace, pictures: data.Pictures, name: str) -> Trained | None:
    path = arguments.work / "networks" / f"{name}.pt"
    if not path.exists():
        if "networks" not in arguments.steps:
            return None
        first = RECIPES[name].start
        start = _network(arguments, pictures, first) if first else None
        drawn = _drawn(arguments, pictures, start, RECIPES[name].filmed) if start and RECIPES[name].drawn else None
        made = networks.train(
            name,
            pictures,
            arguments.seed,
            arguments.minutes,
            say=_say,
            start=start.detector if start else None,
            half=arguments.half,
            drawn=drawn,
        )
        networks.save(made, path)
    return networks.load(path)


def _drawn(arguments: argparse.Namespace, pictures: data.Pictures, start: Trained, filmed: int) -> drawing.Drawn:
    """Of people of the train split, and of `filmed` frames of its clips, attacked on the network that goes on."""
    path = arguments.work / f"drawn-train-{start.name}-{arguments.drawn_people}.pt"
    made = drawing.make(pictures.train.first(arguments.drawn_people), pictures.size, start.detector, path)
    if not filmed:
        return made
    frames = data.frames(arguments.data, arguments.fakes, pictures.size, filmed, arguments.seed)
    path = arguments.work / f"drawn-frames-{start.name}-{filmed}.pt"
    return made.beside(drawing.make(frames, pictures.size, start.detector, path))


def _attacks(
    arguments: argparse.Namespace, pictures: data.Pictures, trained: list[Trained], made: dict[str, Any]
) -> None:
    """Table II and what follows from it."""
    effort, folder = _effort(arguments), arguments.work / "perturbed"
    perturbed: dict[tuple[str, str], Perturbed] = {}
    for one in trained if "attacks" in arguments.steps else []:
        for attack in ATTACKS:
            _say(f"{attack} on {one.name}")
            perturbed[one.name, attack] = make(one, pictures.test, attack, effort, folder)
    if perturbed:
        made["table2"] = tables.table2(trained, pictures.test, perturbed)
        made["trade"] = tables.trade(trained, pictures.test, perturbed)
        _write(arguments.out, made)
    plain = next((t for t in trained if t.name == "resnet"), None)
    if "library" in arguments.steps and plain is not None:
        part = pictures.test.first(arguments.library_faces)
        made["library"] = library.compare(plain, part, arguments.library_steps, arguments.library_iterations)
        _write(arguments.out, made)
    if "suite" in arguments.steps:
        asked = [t for t in trained if t.name in arguments.suite_networks]
        part = pictures.test.first(arguments.suite_faces)
        made["suite"] = tables.suite(asked, part, arguments.suite_iterations, arguments.suite_queries, arguments.seed)
        _write(arguments.out, made)
    if "prior" in arguments.steps and perturbed:
        for name in ("prior", "table3", "table4", "figure6"):
            made[name] = []
        for used in _defences(arguments, pictures, trained):
            _prior(arguments, pictures, used, perturbed, made)
    if "agreement" in arguments.steps and perturbed:
        made["agreement"] = []
        for used in _defences(arguments, pictures, trained):
            made["agreement"].append(_agreement(arguments, pictures, used, perturbed))
            _write(arguments.out, made)


def _defences(
    arguments: argparse.Namespace, pictures: data.Pictures, trained: list[Trained]
) -> Iterator[defence.Defence]:
    by_name = {one.name: one for one in trained}
    for first, behind in [(name, name) for name in arguments.prior_networks] + arguments.second:
        if first in by_name and behind in by_name:
            pair = by_name[first], by_name[behind]
            yield defence.Defence(*pair, _threshold(arguments, pictures, *pair))


def _agreement(
    arguments: argparse.Namespace,
    pictures: data.Pictures,
    used: defence.Defence,
    perturbed: dict[tuple[str, str], Perturbed],
) -> dict[str, Any]:
    cases = defence.choose(used.first, pictures.test, perturbed, arguments.prior_reals)
    val = drawing.three(pictures.val.first(SAME_PEOPLE), pictures.size, used.first.detector)
    return agreement.compare(used, val, cases, arguments.same_pictures, arguments.prior_batch)


def _threshold(arguments: argparse.Namespace, pictures: data.Pictures, first: Trained, behind: Trained) -> float:
    """Where the network behind the prior calls a drawn picture real, chosen on the val split attacked through `first`.

    Of a second opinion what the first network calls fake is caught, whatever the other says.
    """
    path = arguments.work / f"drawn-val-{first.name}-{arguments.prior_people}.pt"
    part = pictures.val.first(arguments.prior_people)
    drawn = drawing.make(part, pictures.size, first.detector, path)
    if first.name == behind.name:
        return defence.threshold(behind, drawn)
    shown, _ = drawing.three(part, pictures.size, first.detector)
    return defence.threshold(behind, drawn, tables.p_real(first, shown) <= 0.5)


def _prior(
    arguments: argparse.Namespace,
    pictures: data.Pictures,
    used: defence.Defence,
    perturbed: dict[tuple[str, str], Perturbed],
    made: dict[str, Any],
) -> None:
    """Tables III and IV of a defence, added to what is made; figure 6 of the first."""
    cases = defence.choose(used.first, pictures.test, perturbed, arguments.prior_reals)
    before = tables.p_real(used.first, cases.images)
    after, facts = _asked(arguments, used, cases, before)
    made["prior"].append(used.words | defence.summary(facts, cases))
    without = None if used.alone else used.both(before, tables.p_real(used.behind, cases.images))
    made["table3"] += [used.words | row for row in defence.table3(cases, before, after, without)]
    made["table4"] += [used.words | row for row in defence.table4(cases, before, after)]
    _write(arguments.out, made)
    for far, who in _beside(arguments, pictures, used, perturbed):
        before = tables.p_real(who, far.images)
        after, _ = _asked(arguments, used, far, tables.p_real(used.first, far.images))
        made["table4"] += [used.words | row | {"beside": True} for row in defence.table4(far, before, after)]
    _write(arguments.out, made)
    if not made["figure6"]:
        rows = defence.figure6(used.behind, cases, arguments.figure_iterations, used.by)
        made["figure6"] = [used.words | row for row in rows]


def _asked(
    arguments: argparse.Namespace, used: defence.Defence, cases: defence.Cases, before: torch.Tensor
) -> tuple[torch.Tensor, dict[str, Any]]:
    """p_real (N,) of the whole defence, and what it cost."""
    _say(f"deep image prior on {len(cases.images)} pictures")
    after, facts = defence.defend(used.behind, cases, arguments.prior_batch, used.by)
    return used.both(before, after), facts


def _beside(
    arguments: argparse.Namespace,
    pictures: data.Pictures,
    used: defence.Defence,
    perturbed: dict[tuple[str, str], Perturbed],
) -> list[tuple[defence.Cases, Trained]]:
    """What is not in the paper's tables, and the network that each was made on: Carlini-Wagner at kappa 200, and
    attacks that know both networks of a second opinion."""
    far = defence.choose(used.first, pictures.test, perturbed, 0, ("cw",))
    found = [(far, used.first)] if len(far.images) else []
    if used.alone:
        return found
    pair, effort = defence.known_to_the_attacker(used), _effort(arguments)
    folder = arguments.work / "perturbed"
    known = {(pair.name, attack): make(pair, pictures.test, attack, effort, folder) for attack in ("fgsm", "near")}
    cases = defence.choose(pair, pictures.test, known, 0)
    return [*found, (cases.called("{}, both known"), pair)] if len(cases.images) else found


def _facts(arguments: argparse.Namespace, pictures: data.Pictures) -> dict[str, Any]:
    return {
        "table": TABLE,
        "title": "Adversarial perturbations against deepfake detectors, and defences (Gandhi and Jain, IJCNN 2020)",
        "commands": [_command(arguments)],
        "seed": arguments.seed,
        "device": f"CPU, {torch.get_num_threads()} thread(s), torch {torch.__version__}",
        "machine": machine(),
        "data": f"{_stills(arguments.data)}: one head crop of each and one edit of the same crop; split by a hash of "
        "the name, best epoch by the val split",
        "people": {"train": pictures.train.people, "val": len(pictures.val), "test": len(pictures.test)},
        "fakes_by": {name: {"steps": steps} for name, steps in pictures.made_by.items()},
        "size": pictures.size,
        "effort": asdict(_effort(arguments)),
    }


def _stills(pack: Path) -> str:
    """Where the pack's faces are from; the pictures may have been made of it long before."""
    return described(pack) if pack.is_file() else "stills of a pack that is no longer at hand"


def _not_run(made: dict[str, Any]) -> list[str]:
    missing = [f"network {name}" for name in RECIPES if name not in {row["network"] for row in made["networks"]}]
    return missing + [
        part
        for part in ("table2", "library", "suite", "table3", "table4", "figure6", "agreement")
        if not made.get(part)
    ]


def _effort(arguments: argparse.Namespace) -> Effort:
    return Effort(
        arguments.cw_faces,
        arguments.cw_steps,
        arguments.cw_iterations,
        arguments.cw_confidence,
        arguments.near,
        arguments.near_iterations,
    )


def _command(arguments: argparse.Namespace) -> str:
    places = {folder: f"runs/{folder.name}" for folder in arguments.fakes}
    return invocation({**places, arguments.data: "PACK", arguments.work: "WORK", arguments.out: "OUT"})


def _needs(arguments: argparse.Namespace, step: str, path: Path) -> None:
    if step not in arguments.steps:
        raise UsageError(f"{path} is missing: add the step {step!r} to --steps")


def _write(path: Path, made: dict[str, Any]) -> None:
    """What this call has made so far, with the other rows of the file."""
    document = merged(held(path), made)
    document["not_run"] = _not_run(document)
    write_json(path, document)


def _say(words: str) -> None:
    print(words, flush=True)
