"""The links of the alerts that the chart installs: absolute, or none."""

from urllib.parse import parse_qs, urlsplit

import pytest

from charts.boards import Document, load
from charts.helm import of_kind, rendered
from dashboards import DASHBOARDS

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it


def test_without_an_address_no_alert_has_a_link() -> None:
    """A relative link leads nowhere from a chat: the page is only named."""
    for annotations in annotations_of({}).values():
        assert "://" not in str(annotations)
        assert {"runbook_url", "dashboard_url"}.isdisjoint(annotations)
        assert annotations["runbook"].startswith("docs/alerts.md#")


def test_runbooks_lie_where_the_user_keeps_them() -> None:
    """Each alert links to its section of the user's copy of the page."""
    url = "https://wiki.example/infpop/alerts"
    for name, annotations in annotations_of({"metrics": {"prometheusRule": {"runbookUrl": url}}}).items():
        assert annotations["runbook_url"] == f"{url}#{name.lower()}"
        assert "runbook" not in annotations


@pytest.mark.parametrize("url", ["https://grafana.example", "https://example/grafana/"])
def test_each_alert_links_to_a_dashboard_of_the_chart(url: str) -> None:
    """The link opens the dashboard of the alert's study, or of the operator, with variables that it has."""
    boards = {board["uid"]: board for board in map(load, DASHBOARDS)}
    linked = annotations_of({"grafana": {"url": url}})
    for name, annotations in linked.items():
        link = urlsplit(annotations["dashboard_url"])
        root, _, uid = link.path.rpartition("/d/")
        assert f"{link.scheme}://{link.netloc}{root}" == url.rstrip("/")
        variables = {f"var-{each['name']}" for each in boards[uid]["templating"]["list"]}
        given = parse_qs(link.query)
        assert set(given) <= variables
        if name in ("InfPopOperatorDown", "InfPopNoPass"):
            assert (uid, given) == ("infpop-operator", {})
        else:
            expected = {f"var-{label}": [f"{{{{ $labels.{label} }}}}"] for label in ("namespace", "study")}
            assert (uid, given) == ("infpop-study", expected)


def annotations_of(values: Document) -> dict[str, Document]:
    """Return the annotations of each alert that the chart installs with these values."""
    documents = rendered("--set=metrics.prometheusRule.enabled=true", values=values)
    (rule,) = of_kind(documents, "PrometheusRule")
    return {each["alert"]: each["annotations"] for group in rule["spec"]["groups"] for each in group["rules"]}
