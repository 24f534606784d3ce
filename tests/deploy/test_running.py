"""The systemd unit, containers, compose and Kubernetes: read by their own tools, and held against the daemon's file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_guard.daemon.configuration import load_settings
from stream_guard.daemon.settings import DaemonSettings, Tls
from stream_guard.metrics import DAEMON_METRICS
from tests.daemon.api_server import TOKENS, running
from tests.support.certificates import certified
from tests.support.servers import RTMP_MODULE, program

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "stream-guard.service"
KUBERNETES, COMPOSE, CONTAINER = DEPLOY / "kubernetes" / "base", DEPLOY / "compose", DEPLOY / "container"
SECRETS = {
    "HOOK_SECRET": "a",
    "PUBLISH_TOKEN": "b",
    "READ_TOKEN_SHA256": "0" * 64,
    "WRITE_TOKEN_SHA256": "1" * 64,
}
MOST_EXPOSED = 2.0
"""`systemd-analyze security` gives 0 (locked in) to 10."""


def read(path: Path) -> dict[str, Any]:
    data = yaml.safe_load(path.read_text())
    assert isinstance(data, dict)
    return data


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/stream-guard/bin/stream-guard", "/bin/true"))
    return copy


def test_systemd_reads_the_unit(unit: Path) -> None:
    command = [program("systemd-analyze"), "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(unit) not in done.stderr


def test_a_daemon_that_ends_by_a_signal_is_started_again() -> None:
    """`on-failure` takes SIGHUP, which a reload sends, for a clean end; only a mistake of the file stays."""
    lines = UNIT.read_text().splitlines()
    assert {"Restart=always", "RestartPreventExitStatus=2"} <= set(lines)


def test_the_unit_is_locked_in(unit: Path) -> None:
    threshold = str(int(MOST_EXPOSED * 10))
    command = [program("systemd-analyze"), "security", "--offline=yes", f"--threshold={threshold}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_waits_for_the_drain() -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    assert int(found[1]) > DaemonSettings.model_fields["drain_seconds"].default
    assert "StateDirectory=stream-guard\n" in UNIT.read_text()


# --- Containers and compose -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(CONTAINER.glob("Containerfile*")), ids=lambda file: file.name)
def test_a_container_file_copies_what_is_there_and_runs_as_nobody(file: Path) -> None:
    lines = re.sub(r"\\\n", " ", file.read_text()).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"FROM", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in steps} <= known
    for word, rest in steps:
        if word == "COPY" and "--from" not in rest:
            assert (ROOT / rest.split()[0]).exists()
    assert [rest for word, rest in steps if word == "USER"][-1] not in ("root", "0")
    if file.name != "Containerfile.nginx":
        volume = next(rest for word, rest in steps if word == "VOLUME")
        assert f"STREAM_GUARD__STATE_DIR={volume}" in file.read_text()


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.cuda"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_containers_health_is_that_of_the_daemon(name: str, secure: bool, tmp_path: Path) -> None:
    text = re.sub(r"\\\n\s*", "", (CONTAINER / name).read_text())
    (check,) = re.findall(r"^HEALTHCHECK .*?CMD (.*)$", text, re.MULTILINE)
    tls = None
    if secure:
        certificate, key = certified(tmp_path)
        tls = Tls(certificate=str(certificate), key=str(key))

    def healthy(port: int) -> bool:
        environment = {"PATH": os.environ["PATH"], "STREAM_GUARD__HTTP__PORT": str(port)}
        return subprocess.run(["sh", "-c", check], env=environment, capture_output=True).returncode == 0

    program("curl")
    with running(tls=tls, tokens=TOKENS) as api:
        assert healthy(api.server.port)
    assert not healthy(api.server.port)


def test_what_is_built_from_is_let_in() -> None:
    """.dockerignore leaves everything out but a few: all that the package's build asks for must be among them."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / name).exists() for name in allowed)
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'^"([^"]+)" = "stream_guard/_bundled', project, re.MULTILINE)
    assert {*wanted, "stream_guard", "pyproject.toml", "README.md", "LICENSE"} <= allowed


def images() -> Iterator[tuple[Path, str]]:
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            for found in re.findall(r"^\s*(?:FROM|(?:- )?image:)\s+(\S+)", file.read_text(), re.MULTILINE):
                yield file, found


def test_no_registry_is_named() -> None:
    assert list(images())
    for file, image in images():
        assert "." not in image.split("/")[0].split(":")[0] or "/" not in image, f"{file.name}: {image}"


def test_compose_names_only_what_it_has() -> None:
    compose = read(COMPOSE / "compose.yaml")
    services, example = compose["services"], (COMPOSE / "example.env").read_text()
    assert set(compose) == {"name", "services", "networks", "volumes", "secrets"}
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service.get("networks", ())) <= set(compose["networks"])
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (COMPOSE / source).is_file(), f"{name}: {source}"
        if "build" in service:
            assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
    for variable in {*re.findall(r"\$\{(\w+)", (COMPOSE / "compose.yaml").read_text()), "READ_TOKEN"}:
        assert re.search(rf"^{variable}=", example, re.MULTILINE), variable


def test_composes_daemon_reads_its_file_and_has_time_to_drain() -> None:
    settings = load_settings(COMPOSE / "stream-guard.yaml", SECRETS)
    service = read(COMPOSE / "compose.yaml")["services"]["stream-guard"]
    assert set(re.findall(r"\$\{(\w+)\}", (COMPOSE / "stream-guard.yaml").read_text())) <= set(service["environment"])
    assert float(service["stop_grace_period"].removesuffix("s")) > settings.drain_seconds
    ours = service["networks"]["media"]["ipv4_address"]
    assert ours in str(read(COMPOSE / "compose.yaml")["services"]["nginx-rtmp"])


def test_composes_prometheus_is_read(tmp_path: Path) -> None:
    text = (COMPOSE / "prometheus.yml").read_text()
    (tmp_path / "token").write_text("x")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/read_token", f"{tmp_path}/token"))
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    command = [program("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nginx_reads_the_containers_template(tmp_path: Path) -> None:
    if not RTMP_MODULE.exists():
        pytest.skip(f"needs nginx's RTMP module at {RTMP_MODULE}")
    text = (CONTAINER / "nginx.conf.template").read_text()
    for name, value in (("DAEMON_NETWORK", "172.30.64.2"), ("DAEMON", "172.30.64.2:8642"), ("HOOK_SECRET", "a")):
        text = text.replace(f"${name}", value)
    (tmp_path / "nginx.conf").write_text(text.replace("/tmp/nginx.pid", f"{tmp_path}/nginx.pid"))
    command = [program("nginx"), "-t", "-c", f"{tmp_path}/nginx.conf", "-e", f"{tmp_path}/error.log"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_template_is_the_example() -> None:
    """Both have the same directives; only addresses and the secret differ."""

    def directives(file: Path) -> list[str]:
        text = re.sub(r"#.*", "", file.read_text())
        return [word.split()[0] for word in re.split(r"[;{}]", text) if word.strip()]

    example, template = directives(DEPLOY / "servers" / "nginx.conf"), directives(CONTAINER / "nginx.conf.template")
    assert [word for word in template if word != "daemon"] == example


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def manifests() -> Iterator[dict[str, Any]]:
    for file in ("stream-guard.yaml", "service.yaml", "autoscaling.yaml"):
        yield from yaml.safe_load_all((KUBERNETES / file).read_text())


def built(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run([program("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(kind: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


@pytest.mark.parametrize("manifest", list(manifests()), ids=lambda manifest: manifest["kind"])
def test_the_manifests_are_of_their_schema(manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate").validate
    validate(manifest, validate_version(), strict=True)


def validate_version() -> str:
    import kubernetes_validate

    return str(kubernetes_validate.latest_version())


def test_nobody_kills_a_pod_in_mid_build() -> None:
    container = daemon_container(of_kind("StatefulSet", list(manifests())))
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/livez"
    assert "/readyz" in container["readinessProbe"]["exec"]["command"][-1]


def daemon_container(workload: dict[str, Any]) -> dict[str, Any]:
    containers = workload["spec"]["template"]["spec"]["containers"]
    (found,) = [container for container in containers if container["name"] == "stream-guard"]
    assert isinstance(found, dict)
    return found


def test_a_pod_has_time_to_drain_and_all_its_secrets(tmp_path: Path) -> None:
    workload = of_kind("StatefulSet", list(manifests()))
    pod = workload["spec"]["template"]["spec"]
    (folder,) = (m["mountPath"] for m in daemon_container(workload)["volumeMounts"] if m["name"] == "secrets")
    written = (KUBERNETES / "stream-guard.yaml").read_text()
    for name, value in SECRETS.items():
        assert f"--from-literal={name}=" in written
        (tmp_path / name).write_text(value)
    config = tmp_path / "config.yaml"
    config.write_text((KUBERNETES / "config.yaml").read_text().replace(f"{folder}/", f"{tmp_path}/"))
    settings = load_settings(config, {})
    assert [token.sha256 for token in settings.http.tokens] == ["0" * 64, "1" * 64]
    assert (settings.hooks["nginx"].secret, settings.hooks["nginx"].publish_token) == ("a", "b")
    assert pod["terminationGracePeriodSeconds"] > settings.drain_seconds
    for container in pod["containers"]:
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"]
        assert not locked["allowPrivilegeEscalation"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claims = {claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]} | claims


def test_kustomize_builds_both() -> None:
    plain, gpu = built(KUBERNETES), built(KUBERNETES.parent / "gpu")
    configuration = of_kind("ConfigMap", plain)
    volumes = of_kind("StatefulSet", plain)["spec"]["template"]["spec"]["volumes"]
    assert configuration["metadata"]["name"] in str(volumes)
    container = daemon_container(of_kind("StatefulSet", gpu))
    assert container["image"] == "stream-guard:cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_autoscaler_asks_for_a_metric_that_the_adapter_makes_of_ours() -> None:
    (rule,) = read(KUBERNETES / "adapter.yaml")["rules"]["custom"]
    scaler = of_kind("HorizontalPodAutoscaler", list(manifests()))
    assert scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] == rule["name"]["as"]
    workload = of_kind("StatefulSet", list(manifests()))
    assert scaler["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]
    exposed = {metric.exposed: metric.labels for metric in DAEMON_METRICS}
    for expression in (rule["seriesQuery"], rule["metricsQuery"]):
        (name,) = set(re.findall(r"stream_guard_[a-z_]+", expression))
        assert "phase" in exposed[name]
