"""The examples for media servers: read by the server itself where it is installed, carried out against the hooks."""

from __future__ import annotations

import re
import shlex
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from stream_guard.daemon.api import create_app, serve_app
from stream_guard.daemon.configuration import load_settings
from stream_guard.daemon.hooks import Hooks, hooks_router
from stream_guard.daemon.hooks.messages import Call
from stream_guard.daemon.settings import DaemonSettings, Http
from stream_guard.daemon.urls import check_url
from tests.daemon import hook_calls as calls
from tests.support.control_fake import FakeControl
from tests.support.servers import RTMP_MODULE, program

SERVERS = Path(__file__).resolve().parents[2] / "deploy" / "servers"
DAEMON = "http://127.0.0.1:8642"


@pytest.fixture(scope="module")
def settings() -> DaemonSettings:
    return load_settings(SERVERS / "hooks.yaml", {})


def hook_urls(text: str) -> set[str]:
    return set(re.findall(re.escape(DAEMON) + r"/hooks/[^\s\";<]*", text))


def test_nginx_reads_its_file(tmp_path: Path) -> None:
    if not RTMP_MODULE.exists():
        pytest.skip(f"needs nginx's RTMP module at {RTMP_MODULE}")
    file = tmp_path / "nginx.conf"
    file.write_text((SERVERS / "nginx.conf").read_text().replace("/run/nginx.pid", f"{tmp_path}/nginx.pid"))
    command = [program("nginx"), "-t", "-c", str(file), "-p", str(tmp_path), "-e", f"{tmp_path}/error.log"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr


@pytest.mark.parametrize(("file", "hook"), [("nginx.conf", "nginx"), ("mediamtx.yml", "mediamtx"), ("srs.conf", "srs")])
def test_each_server_calls_its_hook_with_its_secret(settings: DaemonSettings, file: str, hook: str) -> None:
    urls = hook_urls((SERVERS / file).read_text())
    assert urls
    for url in urls:
        assert url.startswith(f"{DAEMON}/hooks/{hook}?secret={settings.hooks[hook].secret}")


def test_ovenmediaengine_signs_with_the_hooks_secret(settings: DaemonSettings) -> None:
    part = ElementTree.parse(SERVERS / "ovenmediaengine.xml").find(".//AdmissionWebhooks")
    assert part is not None
    assert part.findtext("SecretKey") == settings.hooks["ovenmediaengine"].secret
    assert part.findtext("ControlServerUrl") == f"{DAEMON}/hooks/ovenmediaengine"


def test_the_blocks_of_srs_are_closed() -> None:
    text = re.sub(r"#.*", "", (SERVERS / "srs.conf").read_text())
    assert text.count("{") == text.count("}") > 0
    statements = [s.strip() for s in re.split(r"[;{}]", text)]
    assert all(re.fullmatch(r"[a-z_]+( +\S+)+|http_hooks", s) for s in statements if s)


@pytest.mark.parametrize("hook", ["nginx", "mediamtx", "srs", "ovenmediaengine"])
def test_the_daemons_file_allows_what_its_hooks_start(settings: DaemonSettings, hook: str) -> None:
    chosen = settings.hooks[hook]
    token = chosen.publish_token
    call = {
        "nginx": calls.nginx("publish", arguments=f"&token={token}"),
        "mediamtx": calls.mediamtx_event("ready", query=f"token={token}"),
        "srs": calls.srs("on_publish", param=f"?token={token}"),
        "ovenmediaengine": calls.ome(key=chosen.secret, url=f"rtmp://ome:1935/live/key?token={token}"),
    }[hook]
    event = tuple(field for field in call.query if field[0] == "event")
    control = FakeControl()
    hooks = Hooks(control, settings.hooks)
    answer = hooks.handle(hook, Call(call.body, call.headers, (("secret", chosen.secret), *event)))
    hooks.close()
    assert answer.status == 200, answer.body
    assert [state.name for state in control.streams()] == ["key"]
    for pattern, purpose in ((chosen.source, "source"), *((o.url, "output") for o in chosen.outputs)):
        url = pattern.format(app="live", name="key", query=f"token={token}")
        assert check_url(url, settings.urls, purpose).host == "127.0.0.1"  # type: ignore[arg-type]


def test_mediamtx_commands_start_and_stop_a_stream(settings: DaemonSettings) -> None:
    """Carried out as MediaMTX does: split into words, variables replaced, no shell. The publisher gave a password."""
    program("curl")
    (path,) = [p for p in yaml.safe_load((SERVERS / "mediamtx.yml").read_text())["paths"].values() if p]
    control, http = FakeControl(), Http(port=0)
    hooks = Hooks(control, settings.hooks)
    app = create_app(control, DaemonSettings(http=http))
    app.include_router(hooks_router(hooks))

    def carry_out(command: str, base: str) -> None:
        assert "$MTX_QUERY" not in command
        words = shlex.split(command.replace(DAEMON, base))
        subprocess.run([word.replace("$MTX_PATH", "live/key") for word in words], check=True, timeout=60)

    with serve_app(app, http) as server:
        carry_out(path["runOnReady"], server.url)
        (state,) = control.streams()
        assert (state.name, state.origin) == ("key", "hook")
        carry_out(path["runOnReady"], server.url)
        carry_out(path["runOnNotReady"], server.url)
        assert control.streams() == []
    hooks.close()
