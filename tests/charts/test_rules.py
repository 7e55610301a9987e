"""The alerts: Prometheus' own tools accept them, they fire when they should, and each has a page to read."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.boards import ROOT, RULES, filled, queries
from charts.known_metrics import known_series
from dashboards import DASHBOARDS
from prometheus.binaries import find_binaries

PAGE = ROOT / "docs" / "alerts.md"
RULE_TESTS = ROOT / "tests" / "prometheus" / "rules_test.yaml"
ANYTHING = dict.fromkeys(("namespace", "study", "pool"), "x") | {"__range": "6h", "__rate_interval": "1m"}


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Prometheus' own checker."""
    return find_binaries().promtool


def alerts() -> list[dict[str, Any]]:
    """Return all alerts."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_prometheus_accepts_the_rules(promtool: Path) -> None:
    """`promtool check rules` has nothing to say, not even as a lint."""
    check(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_alerts_fire_when_they_are_due(promtool: Path) -> None:
    """`promtool test rules` plays series over hours and compares what fires, with labels and texts."""
    check(promtool, "test", "rules", str(RULE_TESTS))


def test_every_query_of_a_dashboard_is_promql(promtool: Path, tmp_path: Path) -> None:
    """With its variables filled in, Prometheus' parser takes every query."""
    found = [query for board in sorted(DASHBOARDS) for query in queries(board)]
    rules = [
        {"record": f"query_{number}", "expr": filled(query.text, **ANYTHING)} for number, query in enumerate(found)
    ]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(found)} rules found" in check(promtool, "check", "rules", str(file))


def test_alerts_name_metrics_that_are_shown() -> None:
    """A metric that is renamed in the code is renamed in the alerts, or they would be silent for ever."""
    named = set(re.findall(r"\binfpop_\w+", " ".join(alert["expr"] for alert in alerts())))
    assert named <= known_series()


def test_every_alert_has_its_part_of_the_page_and_every_part_its_alert() -> None:
    """Whoever is woken up finds at once what to do."""
    headings = set(re.findall(r"^## (\w+)$", PAGE.read_text(), flags=re.MULTILINE))
    assert {alert["alert"] for alert in alerts()} == headings
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"docs/alerts.md#{alert['alert'].lower()}"


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    """An alert that was never seen to fire may never do so."""
    cases = [case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    fired = {
        (case["alertname"], fired["exp_labels"].get("cause")) for case in cases for fired in case.get("exp_alerts", ())
    }
    assert fired == {(alert["alert"], alert["labels"].get("cause")) for alert in alerts()}


def check(promtool: Path, *arguments: str) -> str:
    """Run promtool, expect success, and return what it says."""
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
