"""Writes the pages that repeat what code and results know: `python docs/generate.py`. A test runs it with --check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import daemon_settings
import engine_costs
import evidence
import fooling
import http_api
import magdr_page
import results

from stream_guard import metrics
from stream_guard.config import PipelineSchema
from stream_guard.stages.registry import BUILT_IN, GROUP, StageEntry, describe, describe_options

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py from the code: change it there. -->\n"


def metrics_page() -> str:
    return f"""# Metrics
{NOTE}
`stream-guard protect IN OUT --metrics-port 9464` serves these at `http://127.0.0.1:9464/metrics` while it runs.
Counters start at 0 with each run. Reasons come from the stages ([stages](stages.md)) and are a few fixed words.

{metrics.table()}
## The daemon's own

`stream-guard serve` shows the metrics above for every worker on one page, `/metrics`, with the label `stream`
(`jobs` for all file jobs; `other` beyond `metrics.max_streams`; no label with `metrics.stream_label: false`). Counters
survive the restart of a worker; a stream that was removed keeps its counters for ten minutes more.

Of a file job, the counters of pictures, faces, verdicts, packets, damage and bytes grow when a segment is whole, and
where it is screened or protected in one go, when all of it is: what an attempt had begun when it was stopped, killed or
failed is done anew by the next one and counted then, so that all attempts together count the file once. Histograms are
of the work itself, also where it was done twice. A job that starts anew, because its input, settings or engines changed
or a segment was damaged, counts anew.

Beside them stand:

{metrics.table(metrics.DAEMON_METRICS[1:])}
An alert that every installation wants is `StreamGuardUnprotectedFrames` of
[deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml). To ask for
`increase(stream_guard_unprotected_frames_total[5m]) > 0` alone misses the first such pictures: a reason's series begins
with them, not at 0.
"""


OWN_STAGE = """\
from collections.abc import Iterable

from pydantic import Field

from stream_guard.stages.base import Stage, StageOptions
from stream_guard.types import Frame


class BlurOptions(StageOptions):
    sigma: float = Field(2.0, gt=0, description="how far the blur reaches, in pixels")


class BlurStage(Stage):
    name = "blur"
    description = "Blurs every face."
    Options = BlurOptions
    options: BlurOptions

    def process(self, frame: Frame) -> Iterable[Frame]:
        ...  # frame.picture is an av.VideoFrame; frame.faces is what the stage `faces` found
        return [frame]
"""
"""The example of a stage, as one file that runs."""


def stages_page() -> str:
    stages = [describe(StageEntry(name, target, "the built-ins").load()) for name, target in BUILT_IN]
    parts = "\n".join(_stage(stage) for stage in stages)
    return f"""# Stages and pipelines
{NOTE}
A pipeline is a YAML file; `pipelines/protect.yaml` is the default and the example. Its keys:

{_options(describe_options(PipelineSchema))}
A stage is written as its name, or as its name with options: `- faces: {{every: 4}}`. A mistake is reported with file,
line and column. Options on the command line (`--set faces.every=4`, `--engine`, `--strength`, `--backend`,
`--on-failure`) apply on top of the file and are checked in the same way.

{parts}
{engine_costs.section()}## A stage of one's own

Subclass `stream_guard.stages.base.Stage`: a `name`, a `description`, and one required method, `process`. It gets the
frames in order and returns those that are ready, each once and in order; a stage that holds some back returns them
from `flush`.

```python
{OWN_STAGE}```

Register it as an entry point, under the same name:

```toml
[project.entry-points."{GROUP}"]
blur = "your_package.blur:BlurStage"
```

It then shows in `stream-guard stages` and can be named in a pipeline. Set `protects = True` on a stage that protects
faces: a pipeline without one is refused by `protect`. A stage of your own that looks for faces says
`finds_faces = True`, one that works on faces `needs_faces = True`: a pipeline in an order that can't work is refused
before anything runs. A frame or face is changed by `dataclasses.replace`; a stage that judges lists the words of its
verdicts in `labels`, and each of its verdicts carries the stage's name. Whatever a stage
raises ends the run with the stage's name and the frame's time, and no output is left.
"""


def _stage(stage: dict[str, Any]) -> str:
    return f"## `{stage['name']}`\n\n{stage['description']}\n\n{_options(stage['options'])}"


def _options(options: dict[str, dict[str, Any]]) -> str:
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        default = "required" if option["required"] else f"`{_yaml(option['default'])}`"
        kind = str(option["type"]).replace("|", "\\|")
        rows.append(f"| `{name}` | {kind} | {default} | {option['description']} |")
    return "\n".join(rows) + "\n"


def _yaml(value: object) -> str:
    """A default as one would write it in a pipeline file."""
    return value if isinstance(value, str) and value else json.dumps(value)


def pages() -> dict[Path, str]:
    """What each generated file should hold. The README's table needs the committed results of every benchmark."""
    made = {
        HERE / "metrics.md": metrics_page(),
        HERE / "stages.md": stages_page(),
        HERE / "daemon.md": daemon_settings.page(NOTE),
        HERE.parent / "deploy/stream-guard.yaml": daemon_settings.example(),
        HERE / "api.md": http_api.page(NOTE),
        **evidence.pages(NOTE),
        **magdr_page.pages(NOTE),
        **fooling.pages(NOTE),
    }
    if all((results.RESULTS / f"{name}.json").is_file() for name in results.README_RESULTS):
        readme = HERE.parent / "README.md"
        made[readme] = results.with_block(readme.read_text(encoding="utf-8"))
    return made


def main() -> int:
    """Write the pages, or with --check say which are out of date."""
    check = "--check" in sys.argv[1:]
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.name} is {'out of date: run `python docs/generate.py`' if check else 'written'}")
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
