"""Argo CD and Flux report the health of a study as a user would."""

import re
from typing import Any

import pytest
import yaml

from gitops.judges import DEPLOY, argo_health, flux_expressions, flux_status, health_script
from gitops.samples import FOLDER, render, samples

CASES = yaml.safe_load((DEPLOY / "argocd" / "health_test.yaml").read_text())["tests"]
# Unknown: an error, which Flux retries. A suspended study was accepted, which is all that is required.
FLUX = {
    "new": "Unknown",
    "edited": "InProgress",
    "refused": "Failed",
    "measuring": "Current",
    "waiting": "Current",
    "stalled": "Failed",
    "succeeded": "Current",
    "suspended": "Current",
}


@pytest.mark.parametrize("name", samples())
def test_the_samples_are_what_the_operator_writes(name: str) -> None:
    """No health check is tested with conditions that the operator does not write."""
    assert (FOLDER / f"{name}.yaml").read_text() == render(samples()[name]), "PYTHONPATH=tests python -m gitops.samples"


def test_every_sample_is_judged_and_nothing_else() -> None:
    """Argo CD's list of cases has exactly the sample files."""
    assert sorted(case["inputPath"] for case in CASES) == sorted(f"testdata/{name}.yaml" for name in samples())
    assert {path.stem for path in FOLDER.iterdir()} == set(samples())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["inputPath"])
def test_argo_cd_sees_the_health_of_a_study(case: dict[str, Any]) -> None:
    """Argo CD's own cases pass: status and message."""
    study = yaml.safe_load((DEPLOY / "argocd" / case["inputPath"]).read_text())
    assert argo_health(study, health_script()) == (case["healthStatus"]["status"], case["healthStatus"]["message"])


@pytest.mark.parametrize(("name", "expected"), FLUX.items())
def test_flux_waits_until_a_study_is_accepted(name: str, expected: str) -> None:
    """It continues when the study is accepted, fails immediately if it needs user action, and waits until then."""
    assert flux_status(samples()[name], flux_expressions()) == expected


def test_the_page_shows_the_expressions_that_are_tested() -> None:
    """The expressions in docs/gitops.md are those of deploy/flux."""
    page = (DEPLOY.parent / "docs" / "gitops.md").read_text()
    (block,) = re.findall(r"```yml\n(healthCheckExprs:.*?)```", page, re.DOTALL)
    (check,) = yaml.safe_load(block)["healthCheckExprs"]
    assert {name: check[name] for name in flux_expressions()} == flux_expressions()


def test_both_may_wait_for_the_result_instead() -> None:
    """With Succeeded instead of Accepted, as the comments say, only the end of the search counts."""
    script = health_script().replace('holds("Accepted")', 'holds("Succeeded")')
    expressions = {name: text.replace("Accepted", "Succeeded") for name, text in flux_expressions().items()}
    judged = {
        name: (argo_health(study, script)[0], flux_status(study, expressions)) for name, study in samples().items()
    }
    assert judged["measuring"] == judged["waiting"] == ("Progressing", "InProgress")
    assert judged["succeeded"] == ("Healthy", "Current")
    assert judged["stalled"] == ("Degraded", "Failed")
