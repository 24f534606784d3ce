"""Cards: what is taken, and what each mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.errors import EngineError, ExitCode
from stream_guard.inference import load_card

from ..support.engines import write_disrupter


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return write_disrupter(tmp_path)


def edit(engine: Path, old: str, new: str) -> None:
    card = engine / "card.toml"
    text = card.read_text(encoding="utf-8")
    assert old in text
    card.write_text(text.replace(old, new), encoding="utf-8")


def test_a_card_is_read_with_its_units(engine: Path) -> None:
    card = load_card(engine)
    assert (card.name, card.kind, card.default, card.evaluation_only) == ("tiny", "disrupter", True, False)
    assert card.epsilon == pytest.approx(8 / 255)
    assert card.input_shape("face") == (-1, 3, 128, 128)
    assert card.model_path == engine / "model.onnx"
    assert len(card.read_model()) > 100
    assert load_card(engine / "card.toml") == card


def test_a_number_is_taken_as_epsilon_too(engine: Path) -> None:
    edit(engine, 'epsilon = "8/255"', "epsilon = 0.03")
    assert load_card(engine).epsilon == 0.03


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "disrupter"', 'kind = "distractor"', "kind: Input should be 'disrupter', 'generator'"),
        ('epsilon = "8/255"', "epsilon = 8", "epsilon: Input should be less than or equal to 0.25"),
        ('epsilon = "8/255"', 'epsilon = "a/b"', "epsilon: .*float"),
        ('epsilon = "8/255"', 'epsilon = "8/0"', "epsilon: .*zero"),
        ('epsilon = "8/255"\n', "", "a disrupter needs epsilon"),
        ('kind = "disrupter"', 'kind = "generator"', r"a generator needs \[conditions\]"),
        ("opset = 13", "opsett = 13", "opset: Field required; opsett: Extra inputs are not permitted"),
        ('licence = "Apache-2.0"', "", "licence: Field required"),
        ("shape = [-1, 3, 64, 64]", 'shape = "big"', r"outputs\.0\.shape"),
        ("opset = 13", "opset = ", "can't read the engine card .*card.toml.*line"),
    ],
)
def test_a_mistake_names_its_key(engine: Path, old: str, new: str, message: str) -> None:
    edit(engine, old, new)
    with pytest.raises(EngineError, match=message) as caught:
        load_card(engine)
    assert "card.toml" in str(caught.value)


def test_a_generators_conditions_pair_up(engine: Path) -> None:
    edit(engine, 'kind = "disrupter"', 'kind = "generator"')
    card = engine / "card.toml"
    text = card.read_text(encoding="utf-8")
    card.write_text(text + '[conditions]\nnames = ["old", "young"]\nrows = [[1, 0], [0, 1]]\n', encoding="utf-8")
    assert load_card(engine).conditions.rows == ((1.0, 0.0), (0.0, 1.0))
    card.write_text(text + '[conditions]\nnames = ["old", "young"]\nrows = [[1, 0]]\n', encoding="utf-8")
    with pytest.raises(EngineError, match="2 names but 1 rows"):
        load_card(engine)


def test_another_file_than_the_cards_is_refused(engine: Path) -> None:
    model = engine / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(EngineError, match=r"'tiny': .*model\.onnx has the sha256 .* its card says") as caught:
        load_card(engine).read_model()
    assert caught.value.exit_code is ExitCode.ERROR


def test_a_missing_model_is_named(engine: Path) -> None:
    (engine / "model.onnx").unlink()
    with pytest.raises(EngineError, match=r"can't read its model .*model\.onnx: No such file"):
        load_card(engine).read_model()


def test_a_folder_without_a_card_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"is no engine: there is no card\.toml"):
        load_card(tmp_path)


def test_an_input_that_is_not_there(engine: Path) -> None:
    with pytest.raises(EngineError, match=r"has no input 'image'; it has \['face'\]"):
        load_card(engine).input_shape("image")
