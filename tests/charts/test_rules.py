"""The alerts: Prometheus' own tools accept them, they fire when they should, and each has a runbook entry."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.boards import ROOT, RULES, filled, queries
from charts.known_metrics import known_series
from dashboards import DASHBOARDS
from infpop_operator.core.model import ENDED_ON_REQUEST
from prometheus.promtool import promtool

PAGE = ROOT / "docs" / "alerts.md"
RULE_TESTS = ROOT / "tests" / "prometheus" / "rules_test.yaml"
ANYTHING = dict.fromkeys(("namespace", "study", "pool"), "x") | {"__range": "6h", "__rate_interval": "1m"}


def alerts() -> list[dict[str, Any]]:
    """Return all alerts."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.prometheus
def test_prometheus_accepts_the_rules() -> None:
    """`promtool check rules` reports nothing, not even as a lint."""
    check("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.prometheus
def test_alerts_fire_when_they_are_due() -> None:
    """`promtool test rules` simulates series over hours and compares the firing alerts, with labels and texts."""
    check("test", "rules", str(RULE_TESTS))


@pytest.mark.prometheus
def test_every_query_of_a_dashboard_is_promql(tmp_path: Path) -> None:
    """With its variables filled in, Prometheus' parser accepts every query."""
    found = [query for board in sorted(DASHBOARDS) for query in queries(board)]
    rules = [
        {"record": f"query_{number}", "expr": filled(query.text, **ANYTHING)} for number, query in enumerate(found)
    ]
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(found)} rules found" in check("check", "rules", str(file))


def test_alerts_name_metrics_that_are_shown() -> None:
    """A metric renamed in the code must be renamed in the alerts, or they would stay silent."""
    named = set(re.findall(r"\binfpop_\w+", " ".join(alert["expr"] for alert in alerts())))
    assert named <= known_series()


def test_a_trial_that_was_stopped_on_request_is_no_failure() -> None:
    """A new reason for stopping trials must be known to the alert, or a resumed study would raise it."""
    (rule,) = [alert for alert in alerts() if alert["alert"] == "InfPopTrialFailures"]
    (reasons,) = re.findall(r'reason!~"([^"]+)"', rule["expr"])
    assert set(reasons.split("|")) == ENDED_ON_REQUEST


def test_every_alert_has_its_part_of_the_page_and_every_part_its_alert() -> None:
    """An on-call engineer immediately finds what to do."""
    headings = set(re.findall(r"^## (\w+)$", PAGE.read_text(), flags=re.MULTILINE))
    assert {alert["alert"] for alert in alerts()} == headings
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/alerts.md#{alert['alert'].lower()}"


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    """An alert that never fired in a test may never fire."""
    cases = [case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    fired = {
        (case["alertname"], fired["exp_labels"].get("cause")) for case in cases for fired in case.get("exp_alerts", ())
    }
    assert fired == {(alert["alert"], alert["labels"].get("cause")) for alert in alerts()}


def check(*arguments: str) -> str:
    """Run promtool, expect success, and return its output."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
