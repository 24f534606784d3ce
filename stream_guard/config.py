"""The pipeline schema: YAML to checked settings, one message per mistake, each naming its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .document import Document, KeyPath, Mark, parse_value, read_document
from .errors import ConfigError, UnknownNameError, UsageError
from .resources import bundled
from .stages.base import Stage, StageOptions
from .stages.ordering import misplaced
from .stages.registry import Registry, discover


class OnFailure(str, Enum):
    """What becomes of a frame with a face that could not be protected."""

    BLOCK = "block"
    """The last protected picture in its place; black where there is none yet."""
    BLACK = "black"
    PASS = "pass"
    """It leaves as it is and is counted in `stream_guard_unprotected_frames_total{reason}`."""
    DISCONNECT = "disconnect"
    """The run ends as failed."""


class PipelineSchema(BaseModel):
    """The keys of a pipeline file; the stages' own options are checked by the stages' own models."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Short name, shown in reports")
    description: str = Field("", description="One sentence for people")
    stages: list[Any] = Field(min_length=1, description="The stages in order, each `name` or `name: {option: value}`")
    on_failure: OnFailure = Field(OnFailure.BLOCK, description="What becomes of a picture with an unprotected face")
    queue: int = Field(8, ge=1, le=256, description="Pictures that may wait between two threads")
    hwaccel: str = Field(
        "none",
        description="The device that decodes, and encodes where it can: `none` is the processor, `auto` the first that "
        "works, else `cuda`, `vaapi`, ... as FFmpeg has them",
    )
    reject: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Verdicts for which `screen` rejects content, by stage: `{detect: [fake], magdr: [perturbed]}`",
    )


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage's class and its checked options."""

    name: str
    factory: type[Stage]
    options: StageOptions

    def build(self) -> Stage:
        return self.factory(self.options)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A checked pipeline: all that the runner has to know."""

    name: str
    stages: tuple[StageSpec, ...]
    description: str = ""
    on_failure: OnFailure = OnFailure.BLOCK
    queue: int = 8
    reject: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The labels for which content is rejected, by stage."""
    hwaccel: str = "none"
    """The device that decodes: `media.hwaccel.hwaccel_names`. It is checked when a source is opened."""

    @property
    def protects(self) -> bool:
        """Whether any stage protects faces, so that the frames that leave may be called protected."""
        return any(spec.factory.protects for spec in self.stages)

    @property
    def on_device(self) -> bool:
        """Whether every stage takes pictures that lie in a device's memory."""
        return all(spec.factory.on_device for spec in self.stages)


@dataclass(frozen=True, slots=True)
class Override:
    """A value from the command line.

    `key` is `stage.option`, `*.option` for all stages that have the option, or a top-level key of the pipeline;
    `source` is the option as typed, for the messages.
    """

    key: str
    value: Any
    source: str


def parse_set(text: str) -> Override:
    """`disrupt.hold=2` as given to --set; the value is read as YAML, so 2 is a number and true is a truth value."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text!r}: give it as STAGE.OPTION=VALUE, such as --set faces.every=4")
    try:
        return Override(key.strip(), parse_value(value), f"--set {text}")
    except ConfigError as exc:
        raise UsageError(f"--set {text!r}: {value!r} is {exc}") from exc


def pipelines_dir() -> Path:
    """Where the pipelines that come with the package are."""
    return bundled("pipelines", "pipelines")


def load_pipeline(
    name_or_path: str = "protect", overrides: Iterable[Override] = (), registry: Registry | None = None
) -> PipelineConfig:
    """Load a bundled pipeline by name or one's own by path, and apply the overrides on top.

    Raises ConfigError, naming file, line and column of every mistake, or UnknownNameError.
    """
    document = read_document(_find(name_or_path))
    return check(document, overrides, registry)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        return path
    known = {p.stem: p for p in pipelines_dir().glob("*.yaml")}
    if name_or_path not in known:
        raise UnknownNameError("pipeline (a path ends in .yaml)", name_or_path, list(known))
    return known[name_or_path]


def check(document: Document, overrides: Iterable[Override] = (), registry: Registry | None = None) -> PipelineConfig:
    """Validate a document as a pipeline; all its mistakes come in one ConfigError, one to a line."""
    registry = registry if registry is not None else discover()
    if not isinstance(document.data, dict):
        came = "nothing" if document.data is None else type(document.data).__name__
        raise ConfigError(f"{document.mark(())}: a pipeline is a mapping with name and stages; got {came}")
    mistakes: list[str] = []
    stages = _stage_entries(document, registry, mistakes)
    for override in overrides:
        _apply(override, document, stages, mistakes)
    schema = _validated(PipelineSchema, document.data, (), "pipeline", document, mistakes)
    placed = [(k, spec) for k, entry in enumerate(stages) if (spec := _spec(entry, document, mistakes)) is not None]
    specs = [spec for _, spec in placed]
    if len(specs) == len(stages):  # else a mistake in one stage would be told of others too
        for k, mistake in misplaced((k, spec.factory, spec.options) for k, spec in placed):
            mistakes.append(f"{document.mark(stages[k].path)}: {mistake}")
    if schema is not None:
        _check_reject(schema.reject, stages, document, mistakes)
    if mistakes or schema is None:
        raise ConfigError("\n".join(mistakes))
    reject = tuple((stage, tuple(labels)) for stage, labels in schema.reject.items())
    return PipelineConfig(
        schema.name, tuple(specs), schema.description, schema.on_failure, schema.queue, reject, schema.hwaccel
    )


def _check_reject(
    reject: Mapping[str, list[str]], entries: Iterable[_Entry], document: Document, mistakes: list[str]
) -> None:
    """Each stage of `reject` stands in the pipeline, and each label is one of its words.

    Of a stage that is a mistake itself nothing more is said: what its words would be, nobody knows.
    """
    judges = {entry.name: entry.factory.labels for entry in entries if entry.factory and entry.factory.labels}
    broken = {entry.name for entry in entries if entry.factory is None}
    for stage, labels in reject.items():
        if stage in broken:
            continue
        mark = document.mark(("reject", stage))
        if stage not in judges:
            mistakes.append(f"{mark}: reject: no stage {stage!r} that judges{suggestion(stage, list(judges))}")
            continue
        for label in labels:
            if label not in judges[stage]:
                words = suggestion(label, list(judges[stage]))
                mistakes.append(f"{mark}: reject: the stage {stage!r} never says {label!r}{words}")


@dataclass(slots=True)
class _Entry:
    """One item of `stages`; `factory` is None for a stage that is unknown or broken, which is a mistake already."""

    path: KeyPath
    name: str
    options: Any
    factory: type[Stage] | None

    def has(self, option: str) -> bool:
        return self.factory is not None and option in self.factory.Options.model_fields


def _stage_entries(document: Document, registry: Registry, mistakes: list[str]) -> list[_Entry]:
    """The items of `stages` in their two spellings; an item that is neither is a mistake."""
    items = document.data.get("stages")
    entries: list[_Entry] = []
    for index, item in enumerate(items if isinstance(items, list) else ()):
        path: KeyPath = ("stages", index)
        if isinstance(item, dict) and len(item) == 1:
            ((name, options),) = item.items()
            path = (*path, name)
        elif isinstance(item, str):
            name, options = item, None
        else:
            mistakes.append(
                f"{document.mark(path)}: a stage is a name, or one name with its options (faces: {{every: 8}}); "
                f"got {shown(item)}"
            )
            continue
        factory = _factory(name, document.mark(path), registry, mistakes)
        entries.append(_Entry(path, name, {} if options is None else options, factory))
    return entries


def _factory(name: str, mark: Mark, registry: Registry, mistakes: list[str]) -> type[Stage] | None:
    if name not in registry.entries:
        mistakes.append(f"{mark}: unknown stage {name!r}{suggestion(name, registry.names)}")
        return None
    try:
        return registry.load(name)
    except UsageError as exc:
        mistakes.append(f"{mark}: {exc}")
        return None


def _apply(override: Override, document: Document, stages: list[_Entry], mistakes: list[str]) -> None:
    mark = Mark(override.source)
    stage, dot, option = override.key.partition(".")
    if not dot:
        if stage == "stages":
            mistakes.append(f"{mark}: the stages themselves are set in the pipeline file (--pipeline)")
        document.data[stage] = override.value
        _overlay((stage,), mark, document)
        return
    targets = [entry for entry in stages if (entry.has(option) if stage == "*" else entry.name == stage)]
    if not targets:
        have = ", ".join(entry.name for entry in stages) or "none"
        wanted = f"no stage with the option {option!r}" if stage == "*" else f"no stage {stage!r}"
        mistakes.append(f"{mark}: the pipeline has {wanted}; its stages: {have}")
    for entry in targets:
        if isinstance(entry.options, dict):
            entry.options = {**entry.options, option: override.value}
            _overlay((*entry.path, option), mark, document)


def _overlay(place: KeyPath, mark: Mark, document: Document) -> None:
    """What stands at `place` now, and all within it, comes from `mark`; what the file had there is no more."""
    for within in [path for path in document.marks if path[: len(place)] == place]:
        del document.marks[within]
    document.marks[place] = mark


def _spec(entry: _Entry, document: Document, mistakes: list[str]) -> StageSpec | None:
    if entry.factory is None:
        return None
    if not isinstance(entry.options, dict):
        mark = document.mark(entry.path)
        mistakes.append(f"{mark}: the options of {entry.name!r} are a mapping; got {shown(entry.options)}")
        return None
    owner = f"stage {entry.name!r}"
    options = _validated(entry.factory.Options, entry.options, entry.path, owner, document, mistakes)
    return None if options is None else StageSpec(entry.name, entry.factory, options)


def _validated(
    model: type[Any], data: Mapping[str, Any], base: KeyPath, owner: str, document: Document, mistakes: list[str]
) -> Any:
    """An instance of `model`, or None after writing each of its mistakes down."""
    misread = [name for name, field in model.model_fields.items() if _truth_for_number(data.get(name), field)]
    for name in misread:
        mistakes.append(
            f"{document.mark((*base, name))}: {name}: got {shown(data[name])}; it should be a number, not true or false"
        )
    try:
        made = model.model_validate(data)
        return None if misread else made
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            if error["loc"] and error["loc"][0] in misread:
                continue  # Said already.
            mark = document.mark((*base, *error["loc"]))
            mistakes.append(f"{mark}: {_words(error, owner, list(model.model_fields))}")
        return None


def _truth_for_number(value: Any, field: Any) -> bool:
    """Whether true or false was given where a number is wanted: pydantic would take it for 1 or 0."""
    kinds = {field.annotation, *get_args(field.annotation)}
    return isinstance(value, bool) and bool not in kinds and bool(kinds & {int, float})


def _words(error: Any, owner: str, allowed: list[str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown option {where!r} of {owner}{suggestion(where, allowed)}"
    if error["type"] == "missing":
        return f"{owner} needs {where!r}"
    if error["type"] in ("enum", "literal_error"):
        expected = error["ctx"]["expected"]
        return f"{where}: got {shown(error['input'])}; allowed: {expected}"
    if error["type"] == "string_type" and not isinstance(error["input"], (dict, list)):
        return (
            f"{where}: got {shown(error['input'])}; it should be text: put it in double quotes, "
            "on a command line with single ones around all: --set 'faces.detector=\"on\"'"
        )
    rule = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return (
        f"{where or owner}: got {shown(error['input'])}; it {rule}"
        if rule.startswith("should")
        else (f"{where or owner}: got {shown(error['input'])}: {rule}")
    )


def suggestion(name: str, allowed: list[str]) -> str:
    """What follows the words "unknown ... 'name'": the nearest name that is known, and all of them."""
    close = difflib.get_close_matches(name, allowed, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{meant} allowed: {', '.join(allowed) or 'none'}"


def shown(value: Any) -> str:
    """A value that was given, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
