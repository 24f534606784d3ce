"""The daemon's settings as pages: the tables of docs/daemon.md and the example deploy/stream-guard.yaml."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stream_guard.daemon import settings as s
from stream_guard.daemon.file_jobs import STILLNESS_SECONDS
from stream_guard.daemon.process import IDLE_SECONDS
from stream_guard.daemon.stream import RUNNING_SECONDS

SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("The file", s.DaemonSettings, ""),
    ("`http`", s.Http, ""),
    ("`http.tokens[]`", s.Token, ""),
    ("`http.tls`", s.Tls, ""),
    ("`urls`", s.Urls, ""),
    (
        "`defaults`, and every stream",
        s.StreamDefaults,
        "What a stream does not set, it has from `defaults`, key by key. Stage options of `defaults` hold for streams "
        "that run the same pipeline.",
    ),
    ("`streams[]`, beside those", s.StreamSettings, ""),
    ("`outputs[]`", s.OutputSettings, ""),
    ("`encoder`", s.EncoderChoice, ""),
    ("`backoff`", s.BackoffSettings, ""),
    ("`limits`", s.LimitSettings, ""),
    ("`hooks.NAME`", s.HookSettings, ""),
    ("`jobs`", s.JobsSection, ""),
    (
        "A job",
        s.JobSettings,
        "What `POST /v1/jobs` takes. It ends as `completed`, `failed`, `rejected` (by a screening), `aborted` "
        "(cancelled), `killed_memory` or `killed_shutdown` (cut off again and again).",
    ),
    ("`admission`", s.AdmissionSettings, ""),
    ("`metrics`", s.MetricsSection, ""),
)

PAGE = """# The daemon's settings
{note}
`stream-guard serve --config FILE` reads one YAML file; [deploy/stream-guard.yaml](../deploy/stream-guard.yaml) has
every key with its default, and `serve --example` prints it. `--check` reads a file, tells every mistake with its line
and column, and starts nothing.

- **Environment**: `STREAM_GUARD__HTTP__PORT=8080` is laid over `http.port`. Two underscores stand between keys, letters
  are small or capital, `-` in a key is `_`, a list's items go by number (`STREAM_GUARD__STREAMS__0__STALL=3`), and the
  value is read as YAML (`STREAM_GUARD__URLS__HOSTS='[127.0.0.1]'`).
- **Secrets**: `${{NAME}}` in any text is the environment's variable NAME, `$$` a plain `$`. `url_file`, `source_file`,
  `secret_file`, `webhook_secret_file`, `publish_token_file` and `sha256_file` name a file that holds the value, and
  must not be empty. Of a URL, beside the host, the first part of the path is shown where more parts follow. All else
  is shown nowhere: neither in the log, nor in an error, an answer or a label. Workers inherit neither such a variable,
  but for those that programs look at themselves (`PATH`, `HOME`, `LC_*`, `OTEL_*`, `CUDA_*`, proxies), nor
  `STREAM_GUARD__` settings. The exception is SRT: the system's ffmpeg gets its URL and options, passphrase and stream
  id among them, on its command line, and has no other way for a source. Whoever may log in reads it there (`ps`),
  unless /proc is mounted with `hidepid=2`; where that matters, let a media server on loopback speak SRT.
- **Reload**: the file is read again when it changes and on SIGHUP. Streams whose settings stay the same run on; others
  are drained and started anew, new ones start, those that are gone are drained, and those that failed are tried again.
  Streams of the API and of hooks run on, also those that new `urls` would refuse: the log and an event name them.
  A file with a mistake, or an empty one, changes nothing: the log, an event and
  `stream_guard_configuration_reload_success 0` tell. `state_dir`, `jobs` and `http` take effect with the next start,
  but for `http.tokens`: what is not among the new ones is refused from there on, and its open event streams end. With
  no token left the old ones stay until the next start, and the log says so. Files that the configuration names are read
  again on SIGHUP only: a token that has a `sha256_file` is changed by that (a `${{NAME}}` stays what it was at the
  start), and the certificate of `http.tls` is given to connections from there on, so send one when it is renewed.
- **The end**: SIGTERM and Ctrl-C drain within `drain_seconds`; a second one ends everything at once. The exit code is
  0, or 2 for a file or port that cannot be used, or 1 for all else, such as a job queue that another daemon holds.
  The playlist of an HLS output says that it is at its end when its stream is taken away or has failed: with the
  daemon only where the stream is none of the file's, which the next daemon carries on from there.
  Workers end with the daemon, also when that is killed. A disk that is full at the start, or gets so, holds up file
  jobs only: they are answered with 503, and go on when there is room.
- **Restarts**: a worker that crashes, or is killed because it hangs or for its memory, is started again after
  `backoff`; after `restarts` within `restart_window` the stream is `failed`, which is an event, an ERROR in the log and
  `stream_guard_streams_given_up_total`. Limits other than memory, the policy `disconnect` and used-up attempts end a
  stream at once. A worker hangs when it says nothing for {silent:g} s, or when pictures come and none leaves its stages
  and its encoder for {silent:g} s and `stall`; that of a file job when it gets no further for {still:g} minutes: the
  job is then tried again. While engines are loaded or built a worker may be silent for longer, but not for {idle:g} s
  without using any CPU time.
- **Admission**: streams of the file always start. One that comes over the API or a hook is refused with 503 and
  `Retry-After` when CPU time or memory would not do: measured over 5 s, with what streams that started within 15 s will
  take, and what the others take on average (0.5 CPUs and 400 MiB while there is none). Niced work, as file jobs are,
  counts as free. In a container its limits (cgroup v2) hold. 0 as headroom turns a check off.

"""


def page(note: str) -> str:
    return PAGE.format(note=note, silent=RUNNING_SECONDS, still=STILLNESS_SECONDS / 60, idle=IDLE_SECONDS) + "\n".join(
        _section(*section) for section in SECTIONS
    )


def _section(title: str, model: type[BaseModel], words: str) -> str:
    inherited = s.StreamDefaults.model_fields if model is s.StreamSettings else {}
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if name not in inherited:
            rows.append(f"| `{name}` | {_kind(field)} | {_default(field)} | {field.description} |")
    return f"## {title}\n\n" + (f"{words}\n\n" if words else "") + "\n".join(rows) + "\n"


def _kind(field: FieldInfo) -> str:
    kind = field.annotation
    text = kind.__name__ if isinstance(kind, type) and not getattr(kind, "__args__", ()) else str(kind)
    for gone in ("stream_guard.daemon.settings.", "typing.", ", ..."):
        text = text.replace(gone, "")
    return text.replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "see below" if isinstance(field.default, BaseModel) else f"`{_value(field.default)}`"


def _value(value: Any) -> str:
    """A value as one writes it in YAML on one line."""
    return json.dumps(value)


HEAD = """# The settings of `stream-guard serve --config FILE`, each with its default; docs/daemon.md says more.
# Lines behind #| are examples: they take the place of the line above them.
# Written by docs/generate.py: change the descriptions in stream_guard/daemon/settings.py.
"""


def example() -> str:
    """A file that says what holds without a file; what has no default stands in examples."""
    return HEAD + "\n".join(_lines(s.DaemonSettings, 0)) + "\n"


def _lines(model: type[BaseModel], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in model.model_fields.items():
        if depth == 0:
            yield ""
        comment = indent + "# "
        yield from textwrap.wrap(str(field.description), 110, initial_indent=comment, subsequent_indent=comment)
        if isinstance(field.default, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(type(field.default), depth + 1)
            continue
        yield f"{indent}{name}: {_plain(field.default)}"
        for line in EXAMPLES.get((model, name), "").splitlines():
            yield f"#| {indent}{line}"


def _plain(value: Any) -> str:
    if isinstance(value, str) and value.replace("-", "").replace("_", "").isalpha():
        return value
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return _value(value)


EXAMPLES: dict[tuple[type[BaseModel], str], str] = {
    (s.Http, "tokens"): f"""\
tokens:
  - {{name: operator, role: write, sha256: "{"0" * 64}"}}
""",
    (s.Http, "tls"): """\
tls: {certificate: /etc/stream-guard/tls.crt, key: /etc/stream-guard/tls.key}
""",
    (s.Urls, "hosts"): """\
hosts: [127.0.0.1, "*.example.org", "10.0.0.0/8"]
""",
    (s.Urls, "file_roots"): """\
file_roots: [/srv/video]
""",
    (s.DaemonSettings, "streams"): """\
streams:
  - name: studio
    source: rtmp://127.0.0.1/live/${STUDIO_KEY}
    outputs:
      - url: rtmp://127.0.0.1/protected/studio
      - {url: rtmp://127.0.0.1/backup/studio, format: flv}
    on_gap: freeze
    options: {disrupt.strength: 1.25}
  - name: lobby
    source: rtmp://127.0.0.1/live/lobby
    screen: true
""",
    (s.DaemonSettings, "hooks"): """\
hooks:
  rtmp:
    dialect: nginx-rtmp
    source: rtmp://127.0.0.1/live/{name}
    outputs: [{url: "rtmp://127.0.0.1/protected/{name}"}]
    publish_token: ${PUBLISH_TOKEN}
    stream: {end_after_gap: 10}
""",
}
