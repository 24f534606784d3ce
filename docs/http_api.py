"""Writes docs/api.md from the API's own OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_guard.daemon.api import describe
from stream_guard.daemon.api.access import OPEN, may
from stream_guard.daemon.api.answers import CODES
from stream_guard.daemon.api.events import MOST_LISTENERS
from stream_guard.daemon.jobs.signing import HEADER, TOLERANCE_SECONDS
from stream_guard.daemon.jobs.webhooks import ATTEMPTS, TIMEOUT_SECONDS

EXAMPLES = """\
# Who am I?
curl -sSf -H "Authorization: Bearer $TOKEN" $GUARD/v1/about

# Start a stream, look at it, take a picture of it, change it, stop it
curl -sSf -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" $GUARD/v1/streams -d '{
  "name": "studio",
  "source": "rtmp://127.0.0.1/live/key",
  "outputs": [{"url": "rtmp://127.0.0.1/protected/key"}],
  "on_failure": "block"
}'
curl -sSf -H "Authorization: Bearer $TOKEN" $GUARD/v1/streams/studio
curl -sSf -H "Authorization: Bearer $TOKEN" -o studio.jpg "$GUARD/v1/streams/studio/snapshot?kind=protected"
curl -sSf -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -X PUT $GUARD/v1/streams/studio -d '{
  "name": "studio",
  "source": "rtmp://127.0.0.1/live/key",
  "outputs": [{"url": "rtmp://127.0.0.1/protected/key"}],
  "options": {"disrupt.strength": 1.25}
}'
curl -sSf -H "Authorization: Bearer $TOKEN" -X DELETE $GUARD/v1/streams/studio

# Queue a file; asked twice with one key, it is queued once
JOB=$(curl -sSf -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
  -H "Idempotency-Key: lecture-17" $GUARD/v1/jobs \\
  -d '{"source": "/srv/media/in.mp4", "output": "/srv/media/out.mp4"}' |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
curl -sSf -H "Authorization: Bearer $TOKEN" $GUARD/v1/jobs/$JOB
curl -sSf -H "Authorization: Bearer $TOKEN" "$GUARD/v1/jobs?phase=running&limit=10"  # then &before=ID of the last one
curl -sSf -H "Authorization: Bearer $TOKEN" -X DELETE $GUARD/v1/jobs/$JOB

# Follow what happens to one stream, from event 17 on
curl -sSfN -H "Authorization: Bearer $TOKEN" -H "Last-Event-ID: 17" "$GUARD/v1/events?stream=studio"

# Probes and metrics
curl -sSf $GUARD/livez
curl -sSf -H "Authorization: Bearer $TOKEN" $GUARD/readyz
curl -sSf -H "Authorization: Bearer $TOKEN" $GUARD/metrics
"""


def page(note: str) -> str:
    document = describe()
    return f"""# HTTP API
{note}
`stream-guard serve` listens on `http.address` and `http.port` ([daemon](daemon.md)); `/` is the operator's page and
`/v1/openapi.json` describes all of this for programs.

| request | role | what |
| --- | --- | --- |
{_table(document)}
## Who may ask

With tokens in `http.tokens`, everything but `/livez` and the empty page needs `Authorization: Bearer TOKEN`: 401
without, 403 where the token's role is `read` and the request changes something. `/readyz` and `/metrics` need `read`
too: give Prometheus and the kubelet a token (`authorization`, `httpHeaders`). The file holds the tokens' SHA-256 only,
and they are changed without a restart ([reload](daemon.md)).

Without tokens the daemon serves loopback only and refuses to start elsewhere. Then it answers only where the `Host`
header names loopback, so that no web page can reach it under a name of its own. Writes from pages of another origin,
and bodies that are not `application/json`, are refused always. Hooks at `/hooks/NAME` check secrets of their own.

What a request names as `pipeline` is a bundled one, one that the configuration names, or a `.yaml` file below one of
`urls.file_roots`. What its `options`, or such a file, name for a stage to open (`disrupt.engine`, `detect.engine`,
`faces.detector`, `magdr.parser`, `magdr.probes`, `magdr.calibration`, and whatever reads like a path) is a name of the
zoo, what the configuration itself sets there, or a file or folder below a root, by its absolute path; so are the model
and the engines that these name in turn. No other file is opened, and a refusal does not tell whether it is there.

A pipeline that changes faces and protects none, as one that restores (`magdr: {{mode: restore}}` without `disrupt`), is
run too: an event `unprotected`, a warning in the log and, of a job, the report's `warnings` say that what is written is
not protected, and its faces count as `unprotected`.

## Errors

Each status from 400 on has one shape; what was sent is never repeated, and of URLs only the host is shown, and the
first part of the path where more follow. `allowed`, `what_to_do` and `problems` are there where they help.

```json
{{"error": {{"code": "invalid", "message": "body.on_gap: Input should be 'slate', 'freeze' or 'close'",
  "allowed": ["slate", "freeze", "close"], "what_to_do": "GET /v1/openapi.json says what is allowed",
  "problems": [{{"where": "body.on_gap", "message": "Input should be 'slate', 'freeze' or 'close'"}}]}}}}
```

{_statuses()}
`/readyz` answers 503 with its own body: `ready`, `engine` (loading, building, ready, failed), `draining`, `reasons`.
While a faster engine is compiled beside one that works, it answers 200 with `engine: building`.

## Webhooks

With `jobs.webhook_secret` set, a job may name a `webhook` that is told its outcome. It is a POST of JSON: `id` (of the
message: the same with each attempt), `event` (`job.ended`, and `job.attempt_failed` where `webhook_on` is `attempts`),
`created` (Unix time) and `job`, as `GET /v1/jobs/{{id}}` shows it. Any 2xx takes it. After all else, redirects too, and
after silence for {TIMEOUT_SECONDS:g} s it is sent again, over about nine hours and over restarts, and given up after
{ATTEMPTS} attempts. So one message may come twice.

`{HEADER}: t=SECONDS,v1=HEX` signs it: HEX is the HMAC-SHA256, under the secret, of SECONDS, a dot and the body's
bytes as they came. Refuse what was signed more than {TOLERANCE_SECONDS} s ago; each attempt is signed anew.

```python
import hashlib, hmac, time


def genuine(header: str, body: bytes, secret: str) -> bool:
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(time.time() - int(parts["t"])) < {TOLERANCE_SECONDS}
```

## Limits

A body holds at most `http.max_body_bytes` and must arrive within 10 s; a request's head too. `http.max_requests` are
answered at once; more get 503 and `Retry-After`. {MOST_LISTENERS} listeners may follow `/v1/events`; `/livez` is always
answered. Of more than four times `http.max_requests` connections, the one that asked nothing longest is closed.

`HEAD` answers as `GET` does, without the body; `/v1/events` has none.

## Examples

```sh
export GUARD=http://127.0.0.1:8642 TOKEN=the-token
```

```sh
{EXAMPLES}```

## Parameters

{"".join(_parameters(document))}"""


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _table(document: dict[str, Any]) -> str:
    rows = []
    for method, path, operation in _operations(document):
        role = "-" if path in OPEN else "read" if may("read", method) else "write"
        text = f"{operation['summary']}. {operation['description']}".replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{method} {path}` | {role} | {text} |\n")
    return "".join(rows)


def _statuses() -> str:
    rows = ["| status | code |\n", "| --- | --- |\n"]
    return "".join(rows + [f"| {status} | `{code}` |\n" for status, code in CODES.items()])


def _parameters(document: dict[str, Any]) -> Iterator[str]:
    yield "| request | parameter | where | meaning |\n| --- | --- | --- | --- |\n"
    for method, path, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            meaning = parameter["description"]
            yield f"| `{method} {path}` | `{parameter['name']}` | {parameter['in']} | {meaning} |\n"
    yield "\nBodies: `POST` and `PUT` of streams take the keys of a stream, `POST /v1/jobs` those of a job; see\n"
    yield "[daemon](daemon.md) and the schemas `StreamSettings` and `JobSettings` of the OpenAPI document.\n"
