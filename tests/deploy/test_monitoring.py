"""Alert rules, scrape configuration and dashboard: read by Prometheus itself and held against our table of metrics."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_guard.metrics import DAEMON_METRICS, METRICS
from tests.support.servers import program

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS, DASHBOARD = DEPLOY / "prometheus", DEPLOY / "grafana" / "stream-guard.json"
EXPOSED = {m.exposed for m in (*METRICS, *DAEMON_METRICS)}
KNOWN = EXPOSED | {f"{name}_{part}" for name in EXPOSED for part in ("bucket", "sum", "count")}


def run(*command: str | Path) -> None:
    done = subprocess.run([program(str(command[0])), *map(str, command[1:])], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of the alerts, the panels and the HPA's adapter."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_the_rules_do_what_they_say() -> None:
    run("promtool", "check", "rules", PROMETHEUS / "alerts.yml")
    run("promtool", "test", "rules", PROMETHEUS / "alerts_test.yml")


def test_every_alert_is_tested_to_fire_and_explains_itself() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert {rule["alert"] for rule in rules()} == fired
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_configurations_are_read() -> None:
    run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    run("amtool", "check-config", PROMETHEUS / "alertmanager.yml")


@pytest.mark.parametrize(("place", "expression"), list(expressions()), ids=lambda text: text[:40])
def test_every_metric_that_is_asked_for_exists(place: str, expression: str) -> None:
    outside_of_quotes = re.sub(r'"[^"]*"', "", expression)  # The label `job` has names of ours too.
    names = set(re.findall(r"\bstream_guard_[a-z_]+", outside_of_quotes))
    assert names <= KNOWN, f"{place}: unknown {names - KNOWN}"
    assert names or "up{" in expression


def test_labels_that_are_asked_for_exist() -> None:
    labels = {"instance", "job", "stream", "le", *(label for m in (*METRICS, *DAEMON_METRICS) for label in m.labels)}
    for place, expression in expressions():
        grouped = re.findall(r"\b(?:by|on) \(([a-z, ]+)\)", expression)
        matched = re.findall(r"[{,]\s*([a-z_]+)\s*[=!]", expression)
        asked = {name.strip() for names in grouped for name in names.split(",")} | set(matched)
        assert asked <= labels, f"{place}: unknown {asked - labels}"


def test_every_metric_that_warns_is_shown() -> None:
    """What protects people must be on the dashboard: a new counter of failures is not forgotten."""
    shown = " ".join(expression for _, expression in expressions())
    for name in EXPOSED:
        if any(word in name for word in ("unprotected", "blocked", "dropped", "corrupt", "given_up", "refused")):
            assert name in shown


def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    plain = {"$__rate_interval": "1m", "$__range": "1h", "$instance": ".*", "$stream": ".*"}
    written = []
    for number, panel in enumerate(panels()):
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in plain.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            written.append({"record": f"panel:{number}:{target['refId']}", "expr": expression})
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": written}]}))
    run("promtool", "check", "rules", file)


@pytest.mark.parametrize(
    ("title", "metric", "labels"),
    [
        ("Unprotected frames in the range", "unprotected_frames_total", 'reason="too_small"'),
        ("Unprotected frames", "unprotected_frames_total", 'reason="too_small"'),
        ("Blocked frames", "blocked_frames_total", 'reason="late", policy="block"'),
    ],
)
def test_the_first_unprotected_frames_of_a_stream_are_shown(
    tmp_path: Path, title: str, metric: str, labels: str
) -> None:
    """Their series is born with them, and `increase` does not see a first sample."""
    (panel,) = [panel for panel in panels() if panel["title"] == title]
    expression = panel["targets"][0]["expr"].replace("$instance", ".*").replace("$stream", ".*")
    expression = expression.replace("$__range", "15m").replace("$__rate_interval", "15m")
    named = f"stream_guard_{metric}{{instance='a', stream='studio', {labels}}}"
    tests = []
    for values, moment, shown in (("_x4 21x40", "10m", 21), ("_x4 21x2 stale", "10m", 21), ("5x80", "30m", 0)):
        test = f"sum({expression}) == bool {shown}"
        tests.append(
            {
                "interval": "30s",
                "input_series": [{"series": named, "values": values}],
                "promql_expr_test": [
                    {"expr": test, "eval_time": moment, "exp_samples": [{"labels": "{}", "value": 1}]}
                ],
            }
        )
    file = tmp_path / "dashboard_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    run("promtool", "test", "rules", file)


def test_no_face_protected_is_shown_as_none(tmp_path: Path) -> None:
    """The series of protected faces is born with the first of them."""
    (panel,) = [panel for panel in panels() if panel["title"] == "Faces protected"]
    expression = panel["targets"][0]["expr"].replace("$instance", ".*").replace("$stream", ".*")
    named = "stream_guard_faces_total{instance='a', stream='studio', protection='failed'}"
    test = {
        "interval": "30s",
        "input_series": [{"series": named, "values": "0+5x40"}],
        "promql_expr_test": [
            {
                "expr": expression.replace("$__range", "15m"),
                "eval_time": "10m",
                "exp_samples": [{"labels": "{}", "value": 0}],
            }
        ],
    }
    file = tmp_path / "dashboard_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    run("promtool", "test", "rules", file)


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "instance", "stream"}
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
