"""The daemon's file: what it says, what is laid over it, and how mistakes are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from stream_guard.daemon.configuration import load_settings
from stream_guard.daemon.settings import DaemonSettings, StreamSettings
from stream_guard.daemon.specs import live_spec
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


def test_a_stream_that_only_screens_writes_nothing_whatever_it_is_told() -> None:
    outputs = [{"url": "rtmp://127.0.0.1/protected/one"}]
    told = {"name": "one", "source": "rtmp://127.0.0.1/a", "outputs": outputs, "record": "/srv/one.mkv"}
    spec = live_spec(StreamSettings.model_validate({**told, "screen": True, "pipeline": "screen"}))
    assert (spec.outputs, spec.record) == ((), "")
    assert live_spec(StreamSettings.model_validate(told)).record == "/srv/one.mkv"


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
            "STREAM_GUARD__METRICS__TRACING": "!!bool maybe",
            "STREAM_GUARD__URLS__HOSTS": "[" * 1500,
            "STREAM_GUARD__URLS__PATHS": "&itself [*itself]",
        },
    )
    assert len(told) == 7
    for name in ("LOG_LEVEL", "METRICS__TRACING", "URLS__HOSTS", "URLS__PATHS"):
        assert f"STREAM_GUARD__{name}: not a YAML value that a file could hold" in told
    assert any(
        line.startswith("STREAM_GUARD__HTTP__PROT: unknown key 'http.prot'; did you mean 'port'?") for line in told
    )
    assert any(line.startswith("STREAM_GUARD__HTTP__PORT: http.port: got 'x'; it should be") for line in told)
    assert any(line.startswith("STREAM_GUARD__STREAMS__7__STALL: there is no such place") for line in told)


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "hmac").write_text("from a file\n")
    text = HOSTS + STREAM.replace("live/one", "live/${KEY}?x=$$1") + f"jobs: {{webhook_secret_file: {tmp_path}/hmac}}\n"
    settings = load(tmp_path, text, {"KEY": "abc"})
    assert settings.streams[0].source == "rtmp://127.0.0.1/live/abc?x=$1"
    assert settings.jobs.webhook_secret == "from a file"
    assert settings.variables == {"KEY"}
    (told,) = mistakes(tmp_path, text)
    assert told == "guard.yaml:4:5: the environment has no variable KEY"
    (told,) = mistakes(tmp_path, f"jobs: {{webhook_secret_file: {tmp_path}/none}}\n")
    assert told.startswith("guard.yaml:1:8: cannot read")
    (told,) = mistakes(tmp_path, "jobs: {webhook_secret_file: a, webhook_secret: b}\n")
    assert "are both given" in told
    (tmp_path / "hmac").write_text(" \n")
    (told,) = mistakes(tmp_path, f"jobs: {{webhook_secret_file: {tmp_path}/hmac}}\n")
    assert told == f"guard.yaml:1:8: the file '{tmp_path}/hmac' is empty".replace(f"{tmp_path}/", "")


def test_a_playlist_has_one_writer(tmp_path: Path) -> None:
    def text(*names: str) -> str:
        outputs = ", ".join(f"{{url: {tmp_path}/{name}.m3u8}}" for name in names)
        roots = f"urls: {{hosts: [127.0.0.1], file_roots: [{tmp_path}]}}\n"
        two = "  - {name: two, source: rtmp://127.0.0.1/live/two, outputs: [" + outputs + "]}\n"
        return roots + STREAM.replace("rtmp://127.0.0.1/protected/one", f"{tmp_path}/a.m3u8") + two

    load(tmp_path, text("a1", "a2"))
    (told,) = mistakes(tmp_path, text("a1", "a"))
    assert told.endswith("a.m3u8' is the stream 'one''s; give each a name of its own")
    assert "two outputs are one playlist" in mistakes(tmp_path, text("b", "b"))[0]


def test_a_file_that_was_cut_off_to_nothing_is_a_mistake_once_a_daemon_runs(tmp_path: Path) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text("")
    with pytest.raises(ConfigError, match="the file is empty"):
        load_settings(path, {}, again=True)
    path.write_text("{}")
    assert load_settings(path, {}, again=True) == load_settings(None, {}, again=True) == DaemonSettings()


def test_a_tokens_sum_comes_from_a_file_and_a_token_in_its_place_is_not_shown(tmp_path: Path) -> None:
    text = f"http: {{tokens: [{{name: one, role: read, sha256_file: {tmp_path}/sum}}]}}\n"
    (tmp_path / "sum").write_text("5" * 64 + "\n")
    assert load(tmp_path, text).http.tokens[0].sha256 == "5" * 64
    (told,) = mistakes(tmp_path, text.replace("/sum", "/none"))
    assert told.endswith("cannot read 'none': No such file or directory")
    (tmp_path / "sum").write_text("the-token-itself")
    (told,) = mistakes(tmp_path, text)
    assert told.startswith("guard.yaml:1:41: http.tokens[0].sha256: a value that is not shown")


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
        (HOSTS + STREAM.replace("rtmp://127.0.0.1/live/one", "/a.mp4"), "guard.yaml:3:5", "is a file; give a URL"),
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
        (HOSTS + STREAM + "    screen: true\n", "guard.yaml:3:5", "has screen: true and outputs; screening only looks"),
        (
            f"urls: {{hosts: [127.0.0.1], file_roots: [{Path(__file__).parent}]}}\n"
            + STREAM.replace("outputs: [{url: rtmp://127.0.0.1/protected/one}]", f"record: {__file__}.mkv")
            + "    screen: true\n",
            "guard.yaml:3:5",
            "has screen: true and record; screening only looks",
        ),
        (HOSTS + STREAM + "    source_options: {timeout: '6'}\n", "guard.yaml:3:5", "'timeout' makes FFmpeg listen"),
        (HOSTS + HOOK + "    stream: {source_options: {timeout: '6'}}\n", "guard.yaml:3:3", "makes FFmpeg listen"),
        ("urls: {hosts: [a.example.org, 1.2.3.4/99]}\n", "guard.yaml:1:31", "urls.hosts: '1.2.3.4/99' is neither"),
        ("urls: {hosts: ['[::1]:99999']}\n", "guard.yaml:1:16", "has the port 99999; a port is a number from 1"),
        ("urls: {schemes: [rtmp, gopher]}\n", "guard.yaml:1:24", "'gopher' is none that can be opened; allowed, in"),
    ],
)
def test_what_no_single_value_shows(tmp_path: Path, text: str, place: str, words: str) -> None:
    told = mistakes(tmp_path, text)
    assert any(words in line and line.startswith(place) for line in told), told


NUL = '"a\\0.yaml"'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HOSTS + HOOK.replace("rtmp://127.0.0.1/{app}/{name}", ""), "3:3: the hook's URL patterns make no stream"),
        (HOSTS + HOOK.replace("rtmp://127.0.0.1/protected/{name}", "{query}"), "outputs.0.url: String should have"),
        ("streams: " + "[" * 1500 + "]" * 1500, " lists and mappings lie more than 64 deep in one another"),
        ("streams: " + "[" * 65 + "]" * 65, "1:74: lists and mappings lie more than 64 deep in one another"),
        ("http: {port: !!bool maybe}", "1:14: not valid YAML: this cannot be read as a value of the kind 'bool'"),
        ("http: {port: !!int ''}", "1:14: not valid YAML: this cannot be read as a value of the kind 'int'"),
        ("http:\n  port: !!timestamp x", "2:9: not valid YAML: this cannot be read as a value of the kind 'timestamp'"),
        ("http: {port: 0x" + "F" * 6000 + "}", "1:14: not valid YAML: a number of more than 64 bits"),
        ('log_level: "\\UFFFFFFFF"', " not valid YAML: "),
        ("log_level: \0", " not valid YAML: unacceptable character #x0000"),
        (f"defaults: {{pipeline: {NUL}}}", "1:1: cannot read the pipeline 'a\\x00.yaml': embedded null byte"),
        (f"jobs: {{webhook_secret_file: {NUL}}}", "1:8: cannot read 'a\\x00.yaml': embedded null byte"),
        (f"http: {{tls: {{certificate: {NUL}, key: b}}}}", "1:8: http.tls: the certificate 'a\\x00.yaml' with the key"),
    ],
)
def test_what_python_itself_stumbles_over_is_a_mistake_of_the_file(tmp_path: Path, text: str, words: str) -> None:
    (told,) = mistakes(tmp_path, text)
    assert told.startswith("guard.yaml:")
    assert words in told


def test_files_are_opened_at_the_paths_that_were_checked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    outputs = (f"file://localhost{tmp_path}/a.ts", f"file:{tmp_path}/b%20c.ts", f"FILE://{tmp_path}/link/d.ts")
    text = f"urls: {{hosts: [127.0.0.1], file_roots: [{tmp_path}]}}\n" + STREAM.replace(
        "{url: rtmp://127.0.0.1/protected/one}", ", ".join(f"{{url: '{url}'}}" for url in outputs)
    )
    (one,) = load(tmp_path, text + f"    record: 'file://{tmp_path}/e%20f.mkv'\n").streams
    assert [output.url for output in one.outputs] == [f"{tmp_path}/{name}" for name in ("a.ts", "b c.ts", "d.ts")]
    assert one.record == f"{tmp_path}/e f.mkv"
    assert one.source == "rtmp://127.0.0.1/live/one"
    (told, *_) = mistakes(tmp_path, text.replace("b%20c", "b%ff"))
    assert told == "guard.yaml:3:5: the output file has a name that is not UTF-8; name another"


def test_a_name_server_that_is_away_does_not_make_the_file_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = STREAM.replace("127.0.0.1/live", "camera.invalid/live").replace("127.0.0.1", "192.0.2.1")
    text = "urls: {hosts: [camera.invalid, 192.0.2.1]}\n" + text
    settings = load(tmp_path, text)
    assert settings.streams[0].name == "one"
    assert "camera.invalid" in caplog.text
    (told,) = mistakes(tmp_path, text + "    source_options: {timeout: '6'}\n")
    assert "makes FFmpeg listen" in told, "all that needs no name server is checked nevertheless"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_settings(tmp_path / "none.yaml", {})
