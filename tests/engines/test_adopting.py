"""Published checkpoints as runs: the same network, and words that do not call it ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engines import card_words, shipping
from engines.__main__ import main
from engines.adopting import PUBLISHED, adoptable
from engines.detectors.architectures import architecture
from engines.detectors.registry import detector_of
from engines.evaluation.asked import probe_of_run, whose
from engines.evaluation.tables.bench import Bench
from engines.generators import train_fomm, train_stargan
from engines.generators.families import FAMILIES, target_of
from engines.generators.stargan import WHOLE_CONDITIONS
from engines.training import Run, noted, stored
from stream_guard.audit.probes import load_probes
from stream_guard.inference.card import load_card

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*instance_norm.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SLIM = {
    "stargan": ["conv_dim=8", "size=64"],
    "ganimation": ["conv_dim=8", "size=64"],
    "cyclegan": ["ngf=8", "size=64"],
}


def settings_of(name: str) -> Any:
    return FAMILIES[name].Settings(**{key: int(value) for key, value in (one.split("=") for one in SLIM[name])})


def published(name: str, folder: Path) -> tuple[Path, torch.nn.Module]:
    """A checkpoint in the public layout (a bare state_dict), of a slim network with weights of nobody's."""
    torch.manual_seed(3)
    (network,) = FAMILIES[name].blank(settings_of(name)).values()
    path = folder / f"{name}-G.ckpt"
    torch.save(network.state_dict(), path)
    return path, network


def adopt(name: str, path: Path, out: Path) -> int:
    changes = [word for change in SLIM.get(name, []) for word in ("--set", change)]
    return main(["adopt", name, str(path), "--out", str(out), *changes])


@pytest.mark.parametrize("name", sorted(SLIM))
def test_a_published_generator_is_a_target(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, network = published(name, tmp_path)
    assert adopt(name, path, tmp_path / "run") == 0
    assert f"{name}: every key fits" in capsys.readouterr().out
    target = target_of(tmp_path / "run")
    image, condition = torch.rand(1, 3, 64, 64) * 2 - 1, target.conditions[:1]
    expected = network(image) if name == "cyclegan" else network(image, condition)
    assert torch.allclose(target(image, condition), expected, atol=1e-5)
    found = stored(tmp_path / "run")
    assert (found.name, found.step, found.seconds < 60) == (name, 0, True)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.notes == [{"adopted": {"file": path.name, "sha256": sha256}, "from_step": 0}]
    assert noted(tmp_path / "run")["adopted"] == path.name


def test_first_order_motion_takes_its_driving_frames_from_a_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slim = train_fomm.Settings(size=64, block=8, max_features=16, bottleneck=1, kp_block=8, kp_max=16, motion_block=8)
    torch.manual_seed(0)
    network = train_fomm.networks(slim)
    monkeypatch.setattr("engines.adopting.PUBLISHED", {"fomm": slim})
    monkeypatch.setattr(train_fomm, "material", lambda *_: (None, kept))
    frames = (torch.rand(4, 3, 96, 96) * 255).byte()
    kept = train_fomm.Driving(frames, torch.tensor([0, 0, -1, -1]), torch.tensor([[2, 3]]), ("held out",))
    path = tmp_path / "vox-cpk.pth.tar"
    parts = {part: getattr(network, part).state_dict() for part in ("generator", "kp_detector")}
    torch.save({**parts, "discriminator": {}, "epoch_generator": 99}, path)
    assert main(["adopt", "fomm", str(path), "--out", str(tmp_path / "without")]) == 2
    assert "name a pack that has clips" in capsys.readouterr().err
    assert main(["adopt", "fomm", str(path), "--out", str(tmp_path / "run"), "--data", str(tmp_path / "pack")]) == 0
    said = capsys.readouterr().out
    assert "generator: every key fits" in said
    assert "kp_detector: every key fits" in said
    target = target_of(tmp_path / "run")
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(
            target(image, target.conditions[:1]), network.eval()(image, target.conditions[:1]), atol=1e-4
        )


def test_published_weights_are_asked_for_whole_attributes(tmp_path: Path) -> None:
    """Theirs were trained on labels of 0 and 1: a half is nothing that they know."""
    path, _ = published("stargan", tmp_path)
    assert adopt("stargan", path, tmp_path / "run") == 0
    target = target_of(tmp_path / "run")
    assert target.conditions.tolist() == WHOLE_CONDITIONS
    drawn = target.sample(400, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert 0.5 in train_stargan.random_conditions(50, torch.Generator().manual_seed(0)).unique()


@pytest.mark.parametrize("name", sorted(SLIM))
def test_its_card_and_an_audit_do_not_call_it_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "ZOO", tmp_path / "zoo")
    path, _ = published(name, tmp_path)
    assert adopt(name, path, tmp_path / "run") == 0
    assert main(["export", name, "--from", str(tmp_path / "run"), "--as", "theirs"]) == 0
    card = load_card(tmp_path / "zoo" / "theirs")
    assert not card.surrogate
    assert card.evaluation_only
    assert card.licence == f"that of {path.name}"
    assert card.title.endswith(f", weights of {path.name}")
    words = " ".join([card.title, card.paper, card.data, card.notes, card.licence]).lower()
    assert "our own" not in words
    assert "surrogate" not in words
    (probe,) = load_probes([str(tmp_path / "zoo" / "theirs")])
    probe.close()
    assert probe.heading == card.title
    assert probe_of_run(tmp_path / "run", target_of(tmp_path / "run")).heading == card.title
    # And back: the run still knows whose weights it has.
    assert main(["import", str(tmp_path / "zoo" / "theirs"), "--out", str(tmp_path / "back")]) == 0
    assert noted(tmp_path / "back")["adopted"] == path.name


def test_what_was_trained_against_it_says_so() -> None:
    ours = {"a": {"name": "stargan", "steps": 9, "settings": {}}}
    theirs = {"b": {"name": "fomm", "steps": 0, "settings": {}, "adopted": "vox.pth"}}

    def said(targets: dict[str, Any]) -> str:
        found = shipping.Stored("disrupter", {}, {}, 1, 1.0, [{"targets": targets, "from_step": 0}])
        return card_words.against(found)

    assert said(ours).startswith("Trained against our own surrogates a (stargan) only")
    assert said(ours | theirs).startswith("Trained against the generators a (stargan), b (fomm, weights of vox.pth)")


def test_a_detector_that_only_they_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepfakeBench's Meso4 is no network that is trained here; adopted, it is loaded, exported and had back."""
    monkeypatch.setattr(shipping, "ZOO", tmp_path / "zoo")
    torch.manual_seed(1)
    network = architecture("dfb_meso4").build(1.0, 256)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    torch.save({f"backbone.{key}": value for key, value in network.state_dict().items()}, tmp_path / "meso4_best.pth")
    assert main(["adopt", "dfb_meso4", str(tmp_path / "meso4_best.pth"), "--out", str(tmp_path / "run")]) == 0
    detector = detector_of(tmp_path / "run")
    image = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(detector.network(image), network.eval()(image), atol=1e-5)
    assert main(["export", "dfb_meso4", "--from", str(tmp_path / "run")]) == 0
    card = load_card(tmp_path / "zoo" / "dfb_meso4-detector")
    assert "weights of meso4_best.pth" in card.title
    assert not card.default
    assert "surrogate" not in f"{card.data} {card.notes}"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("stargan", {"generator": {}}, "no plain state_dict"),
        ("ganimation", {"main.0.weight": torch.zeros(1)}, "not of ganimation.Generator"),
        ("mesonet", {"fc.weight": torch.zeros(1)}, "not of mesonet.Meso4"),
        ("cyclegan", None, "no checkpoint at"),
    ],
)
def test_what_is_not_that_network_leaves_no_run(
    name: str, content: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        torch.save(content, path)
    assert adopt(name, path, tmp_path / "run") == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_run_in_the_way_is_kept_and_detectors_have_no_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = published("stargan", tmp_path)
    assert adopt("stargan", path, tmp_path / "run") == 0
    assert adopt("stargan", path, tmp_path / "run") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["adopt", "mesonet", str(path), "--out", str(tmp_path / "other"), "--set", "width=2"]) == 2
    assert "adopted as it was published" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_published_settings_give_the_official_shapes(name: str, goldens: Path, fill_rule: Any) -> None:
    meta, _ = fill_rule.load(goldens, name)
    if name == "fomm":
        animator = train_fomm.networks(PUBLISHED[name])
        parts = {part: getattr(animator, part) for part in ("generator", "kp_detector")}
    else:
        parts = {"generator": next(iter(FAMILIES[name].blank(PUBLISHED[name]).values()))}
    for part, network in parts.items():
        wanted = {key: tuple(shape) for key, shape, *_ in meta["networks"][part]["state_dict"]}
        own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        assert {key: shape for key, shape in wanted.items() if key in own} == own


def test_every_published_layout_is_offered() -> None:
    assert {"fomm", "stargan", "ganimation", "cyclegan", "xception", "dfb_xception", "mesonet"} <= set(adoptable())


def test_tables_name_the_file_whose_weights_were_asked(tmp_path: Path) -> None:
    path, _ = published("stargan", tmp_path)
    assert adopt("stargan", path, tmp_path / "run") == 0
    arguments = SimpleNamespace(data=None)
    facts = [
        Bench._generator(SimpleNamespace(arguments=arguments, device="cpu"), folder, False).facts()  # type: ignore[arg-type]
        for folder in (tmp_path / "run", trained(tmp_path / "ours"))
    ]
    assert [one.get("weights_of") for one in facts] == [path.name, None]
    assert whose([]) == "our own surrogates, not the published weights"
    assert whose(["StarGAN, weights of x.ckpt"]).endswith("but for: StarGAN, weights of x.ckpt")


def trained(folder: Path) -> Path:
    settings = settings_of("stargan")
    Run.of(folder, settings, 0.0, "stargan").save(FAMILIES["stargan"].blank(settings))
    return folder
