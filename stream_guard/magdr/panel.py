"""The networks that judge a face together: the parser, every probe with its detector, and the detector of inputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import EngineError, UnknownNameError
from ..inference import AUTO, list_engines
from .calibration import Calibration, load_calibration
from .detector import Detector
from .engines import Parser, Rgb, open_editor, open_parser
from .inputs import InputDetector, open_inputs
from .regions import Masks
from .restorer import LearnedRestorer, open_restorer

_log = logging.getLogger(__name__)

ALARM = 0.02
"""What a unit of log-odds beyond the threshold of the detector of inputs weighs in units of S_final."""


@dataclass(slots=True)
class Panel:
    """What was opened; at least one probe, unless none was wanted."""

    parser: Parser
    detectors: list[Detector] = field(default_factory=list)
    inputs: InputDetector | None = None
    restorer: LearnedRestorer | None = None

    def judges(self) -> dict[str, str]:
        """The names of the networks that have a say, and their sha256."""
        found = {detector.editor.card.name: detector.editor.card.sha256 for detector in self.detectors}
        if self.inputs is not None:
            found[Path(self.inputs.calibration.engine).name] = self.inputs.calibration.sha256
        return found

    def quick(self, detector: Detector, masks: Masks) -> Callable[[Rgb], float]:
        """What a restoration must calm: a probe's quick look, and the detector of inputs as far as it is alarmed.

        A face that calms the probe more than usual gains nothing by it: that would hide the other's alarm.
        """
        look, inputs, usual = detector.quick(masks), self.inputs, detector.calibration.usual
        if inputs is None:
            return look
        limit = inputs.calibration.threshold
        return lambda face: max(look(face), usual) + ALARM * max(0.0, inputs.log_odds([face])[0] - limit)

    def close(self) -> None:
        for one in (self.inputs, self.restorer):
            if one is not None:
                one.close()
        for detector in self.detectors:
            detector.editor.close()
        self.parser.close()


def open_panel(
    calibration: str | Path | None = None,
    probes: Sequence[str] | None = None,
    parser: str | None = None,
    inputs: bool = True,
    restores: bool = False,
    backend: str = AUTO,
    threads: int = 1,
) -> Panel:
    """The parser, the probes by name (all that the calibration knows if None, `[]`: none), and what else is asked for.

    Networks that the calibration knows and the zoo lacks are told in the log. Raises EngineError where none can judge.
    """
    known = load_calibration(Path(calibration) if calibration else None)
    panel = Panel(open_parser(parser, backend, threads))
    failures = []
    try:
        for name in _installed(known) if probes is None else probes:
            try:
                panel.detectors.append(_probe(name, panel.parser, known, backend, threads))
            except (EngineError, UnknownNameError) as error:
                failures.append(str(error))
        try:
            if known.inputs is not None and inputs:
                panel.inputs = open_inputs(known.inputs, None, backend, threads, panel.parser.size)
            if restores:
                panel.restorer = open_restorer(backend, threads, panel.parser.size)
        except (EngineError, UnknownNameError) as error:
            failures.append(str(error))
        if not panel.detectors and (probes != [] or panel.inputs is None):
            raise EngineError("no probe can be asked: " + "; ".join(failures or ["none is named"]))
    except BaseException:
        panel.close()
        raise
    for failure in failures:
        _log.warning("magdr goes on without one of its networks: %s", failure)
    return panel


def _probe(name: str, parser: Parser, known: Calibration, backend: str, threads: int) -> Detector:
    editor = open_editor(name, backend, threads)
    try:
        if editor.card.name not in known.probes:
            raise EngineError(f"MagDR has no calibration for the probe {editor.card.name!r}")
        return Detector(editor, parser, known.probes[editor.card.name])
    except BaseException:
        editor.close()
        raise


def _installed(calibration: Calibration) -> list[str]:
    """The calibrated probes that the zoo has; all of them where it has none, so that the error names them."""
    have = {card.name for card in list_engines() if card.kind == "generator"}
    return [name for name in calibration.probes if name in have] or list(calibration.probes)
