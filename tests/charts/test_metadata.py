"""Chart.yaml: what Helm, Artifact Hub and other catalogues show of the chart."""

import base64
from typing import Any
from xml.etree import ElementTree as ET

import yaml

from charts.boards import ROOT
from charts.helm import CHART
from infpop_operator.api.resource import GROUP, KIND, NAME, VERSION

# https://artifacthub.io/docs/topics/annotations/helm/, as of November 2026; `make release` writes the last four.
TEXTS = {"category", "license", "operator", "operatorCapabilities", "containsSecurityUpdates", "prerelease"}
LISTS = {"crds", "crdsExamples", "changes", "images", "links", "screenshots"}
CATEGORIES = {"ai-machine-learning", "monitoring-logging", "skip-prediction"}
CAPABILITIES = {"basic install", "seamless upgrades", "full lifecycle", "deep insights", "auto pilot"}


def metadata() -> dict[str, Any]:
    """Return Chart.yaml."""
    document: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return document


def annotations() -> dict[str, Any]:
    """Return the annotations for Artifact Hub without their prefix; those that are YAML in a text are read."""
    named = {name.removeprefix("artifacthub.io/"): text for name, text in metadata()["annotations"].items()}
    assert all(isinstance(text, str) for text in named.values())
    return {name: yaml.safe_load(text) if name in LISTS else text for name, text in named.items()}


def test_the_icon_is_the_file() -> None:
    """The icon needs no address: it is an SVG picture in a data URI, and the file is its source."""
    head, _, data = metadata()["icon"].partition(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(data) == (CHART / "icon.svg").read_bytes()
    assert ET.fromstring((CHART / "icon.svg").read_text()).get("viewBox") == "0 0 64 64"  # noqa: S314 - ours


def test_nothing_names_an_address_that_does_not_exist() -> None:
    """The sources know no public repository; a release adds its own."""
    assert {"home", "sources"}.isdisjoint(metadata())
    assert {"links", "images", "changes"}.isdisjoint(annotations())


def test_artifact_hub_knows_the_annotations() -> None:
    """Only documented names and words: Artifact Hub ignores or refuses others."""
    given = annotations()
    assert set(given) <= TEXTS | LISTS
    assert given["category"] in CATEGORIES
    assert given["operatorCapabilities"].lower() in CAPABILITIES
    assert given["license"] == "Apache-2.0"
    assert {given[name] for name in ("operator", "containsSecurityUpdates", "prerelease")} <= {"true", "false"}


def test_artifact_hub_shows_the_definition_and_an_example() -> None:
    """The card names the definition as the cluster does; its example is one that is tested elsewhere."""
    given = annotations()
    (card,) = given["crds"]
    assert {key: card[key] for key in ("kind", "version", "name")} == {"kind": KIND, "version": VERSION, "name": NAME}
    assert card["displayName"]
    assert card["description"]
    example = yaml.safe_load((ROOT / "examples" / "cluster" / "simulated.yaml").read_text())
    assert given["crdsExamples"] == [example]
    assert example["apiVersion"] == f"{GROUP}/{VERSION}"
