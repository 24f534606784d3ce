"""The daemon's file: what it says, what is laid over it, and how mistakes are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from stream_guard.daemon.configuration import load_settings
from stream_guard.daemon.settings import DaemonSettings
from stream_guard.errors import ConfigError

STREAM = """\
streams:
  - name: one
    source: rtmp://127.0.0.1/live/one
    outputs: [{url: rtmp://127.0.0.1/protected/one}]
"""
HOOK = """\
hooks:
  ingest:
    dialect: nginx-rtmp
    source: "rtmp://127.0.0.1/{app}/{name}"
    outputs: [{url: "rtmp://127.0.0.1/protected/{name}"}]
"""
PLACES = [f"guard.yaml:{place}:" for place in ("1:8", "2:1", "4:3", "6:5", "7:5", "8:15", "8:16", "9:5")]
HOSTS = "urls: {hosts: [127.0.0.1]}\n"


def load(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> DaemonSettings:
    path = folder / "guard.yaml"
    path.write_text(text)
    return load_settings(path, environment or {})


def mistakes(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(folder, text, environment)
    return [line.replace(f"{folder}/", "") for line in str(raised.value).splitlines()]


def test_no_file_and_an_empty_file_are_all_defaults(tmp_path: Path) -> None:
    assert load_settings(None, {}) == load(tmp_path, "# nothing yet\n") == DaemonSettings()


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = """http: {port: 99999}
strems: []
defaults:
  on_gap: freez
streams:
  - name: a b
    source: [rtmp://127.0.0.1/live/secretkey]
    outputs: [{ulr: rtmp://127.0.0.1/protected/secretout}]
  - source: rtmp://127.0.0.1/live/two
"""
    told = mistakes(tmp_path, text)
    assert sorted(line.split(" ")[0] for line in told) == PLACES
    text = "\n".join(told)
    assert "did you mean 'streams'?" in text
    assert "did you mean 'url'?" in text
    assert "streams[1] needs 'name'" in text
    assert "secret" not in text.replace("it may be secret", "")


def test_streams_stand_on_the_defaults(tmp_path: Path) -> None:
    text = (
        HOSTS
        + """
defaults: {on_gap: freeze, limits: {width: 1920, cpu: 5}, pipeline: protect, options: {disrupt.strength: 1.5}}
streams:
  - {name: one, source: "rtmp://127.0.0.1/a", outputs: [{url: "rtmp://127.0.0.1/b"}], limits: {cpu: 7}}
  - {name: two, source: "rtmp://127.0.0.1/c", outputs: [{url: "rtmp://127.0.0.1/d"}], pipeline: live}
hooks:
  rtmp: {dialect: nginx-rtmp, source: "rtmp://127.0.0.1/{app}/{name}", stream: {stall: 9}}
"""
    )
    settings = load(tmp_path, text)
    one, two = settings.streams
    assert (one.on_gap, one.limits.width, one.limits.cpu) == ("freeze", 1920, 7)
    assert one.options == {"disrupt.strength": 1.5}
    assert two.options == {}, "options belong to the defaults' pipeline"
    hook = settings.hooks["rtmp"].stream
    assert (hook.stall, hook.on_gap, hook.pipeline) == (9, "freeze", "protect")


def test_a_stream_that_only_screens_runs_the_screening_pipeline(tmp_path: Path) -> None:
    text = HOSTS + "streams: [{name: one, source: 'rtmp://127.0.0.1/a', screen: true}]\n"
    assert load(tmp_path, text).streams[0].pipeline == "screen"


def test_the_environment_is_laid_over_the_file(tmp_path: Path) -> None:
    environment = {
        "STREAM_GUARD__HTTP__PORT": "9000",
        "STREAM_GUARD__LOG_LEVEL": "debug",
        "STREAM_GUARD__STREAMS__0__ON_FAILURE": "pass",
        "STREAM_GUARD__URLS__HOSTS": "[127.0.0.1, 10.0.0.0/8]",
        "STREAM_GUARD_DEBUG": "1",
    }
    settings = load(tmp_path, HOSTS + STREAM, environment)
    assert settings.http.port == 9000
    assert settings.log_level == "debug"
    assert settings.streams[0].on_failure == "pass"
    assert settings.urls.hosts == ("127.0.0.1", "10.0.0.0/8")
    assert load_settings(None, {"STREAM_GUARD__HTTP__PORT": "0"}).http.port == 0


def test_mistakes_of_the_environment_name_the_variable(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        HOSTS + STREAM,
        {
            "STREAM_GUARD__HTTP__PROT": "9000",
            "STREAM_GUARD__HTTP__PORT": "x",
            "STREAM_GUARD__STREAMS__7__STALL": "1",
            "STREAM_GUARD__LOG_LEVEL": "{",
        },
    )
    assert len(told) == 4
    assert any(
        line.startswith("STREAM_GUARD__HTTP__PROT: unknown key 'http.prot'; did you mean 'port'?") for line in told
    )
    assert any(line.startswith("STREAM_GUARD__HTTP__PORT: http.port: got 'x'; it should be") for line in told)
    assert any(line.startswith("STREAM_GUARD__STREAMS__7__STALL: there is no such place") for line in told)
    assert any(line.startswith("STREAM_GUARD__LOG_LEVEL: not a YAML value") for line in told)


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "hmac").write_text("from a file\n")
    text = HOSTS + STREAM.replace("live/one", "live/${KEY}?x=$$1") + f"jobs: {{webhook_secret_file: {tmp_path}/hmac}}\n"
    settings = load(tmp_path, text, {"KEY": "abc"})
    assert settings.streams[0].source == "rtmp://127.0.0.1/live/abc?x=$1"
    assert settings.jobs.webhook_secret == "from a file"
    (told,) = mistakes(tmp_path, text)
    assert told == "guard.yaml:4:5: the environment has no variable KEY"
    (told,) = mistakes(tmp_path, f"jobs: {{webhook_secret_file: {tmp_path}/none}}\n")
    assert told.startswith("guard.yaml:1:8: cannot read")
    (told,) = mistakes(tmp_path, "jobs: {webhook_secret_file: a, webhook_secret: b}\n")
    assert "are both given" in told


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (HOSTS + STREAM + STREAM.replace("streams:\n", ""), "guard.yaml:6:5", "the name 'one' is taken above"),
        (STREAM, "guard.yaml:2:5", "is not a public address"),
        ("http: {address: 0.0.0.0}\n", "guard.yaml:1:1", "there is no http.tokens"),
        ("defaults: {pipeline: nope}\n", "guard.yaml:1:1", "unknown pipeline"),
        (HOSTS + "defaults: {options: {disrupt.nope: 1}}\n", "guard.yaml:2:1", "nope"),
        (
            HOSTS + STREAM.replace("    outputs", "    pipeline: screen\n    outputs"),
            "guard.yaml:3:5",
            "protects no face",
        ),
        (HOSTS + STREAM.rpartition("    outputs")[0], "guard.yaml:3:5", "neither outputs nor record"),
        (HOSTS + STREAM.replace("rtmp://127.0.0.1/live/one", "concat:a"), "guard.yaml:3:5", "cannot be read"),
        (HOSTS + STREAM + "    record: /etc/x.mkv\n", "guard.yaml:3:5", "urls.file_roots is empty"),
        (HOSTS + STREAM + "    encoder: {codec: libx265x}\n", "guard.yaml:3:5", "unknown video codec"),
        (HOSTS + STREAM + "    encoder: {preset: warp9}\n", "guard.yaml:3:5", "warp9"),
        (HOSTS + STREAM + "    encoder: {crf: 90}\n", "guard.yaml:3:5", "crf 90 was given"),
        (HOSTS + STREAM + "    record: rtmp://127.0.0.1/x\n", "guard.yaml:3:5", "is no file"),
        (HOSTS + STREAM.replace("protected/one", "live/one"), "guard.yaml:3:5", "its own source as an output"),
        (HOSTS + STREAM.replace("name: one", "name: jobs"), "guard.yaml:3:5", "the metrics' own"),
        (HOSTS + HOOK.replace("rtmp://127.0.0.1/{", "gopher://127.0.0.1/{"), "guard.yaml:3:3", "gopher"),
        (HOSTS + HOOK + "    stream: {encoder: {codec: libx265x}}\n", "guard.yaml:3:3", "unknown video codec"),
        ("urls: {file_roots: [here]}\n", "guard.yaml:1:8", "is not absolute"),
        ("http: {tls: {certificate: /none.pem, key: /none.key}}\n", "guard.yaml:1:8", "cannot be used"),
        ("[]\n", "guard.yaml:1:1", "a configuration is a mapping"),
        ("http: {port: 1, port: 2}\n", "guard.yaml:1:17", "given twice"),
        ("drain_seconds: 1.0e+300\n", "guard.yaml:1:1", "should be less than or equal to 1000000000"),
        (HOSTS + STREAM + "    limits: {cpu: 1.0e+30}\n", "guard.yaml:6:14", "limits.cpu: got 1e+30; it should be"),
    ],
)
def test_what_no_single_value_shows(tmp_path: Path, text: str, place: str, words: str) -> None:
    told = mistakes(tmp_path, text)
    assert any(words in line and line.startswith(place) for line in told), told


def test_a_name_server_that_is_away_does_not_make_the_file_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = STREAM.replace("127.0.0.1/live", "camera.invalid/live").replace("127.0.0.1", "192.0.2.1")
    settings = load(tmp_path, "urls: {hosts: [camera.invalid, 192.0.2.1]}\n" + text)
    assert settings.streams[0].name == "one"
    assert "camera.invalid" in caplog.text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_settings(tmp_path / "none.yaml", {})
