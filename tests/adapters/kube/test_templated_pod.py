"""A run's Pod has what its study's template asks for, and nothing in a template reaches what InfPop sets itself."""

from pathlib import Path
from typing import Any

import yaml

from api.documents import changed
from api.whole_pod_templates import ENGINE, POOL
from factories.kube_objects import OWNER, make_planned_run, make_spec
from infpop_operator.adapters.kube.job_manifest import PodSettings, build_job
from infpop_operator.api.merged_pod_template import merge_pod_templates
from infpop_operator.api.parse import parse_object
from infpop_operator.api.reserved_pod_names import (
    ANNOTATIONS,
    LABELS,
    MOUNT_PATHS,
    matching,
    reserved_variable,
    reserved_volume,
)
from infpop_operator.api.spec_pod_template import PodTemplate
from infpop_operator.core.errors import StudyError

MANIFEST = Path(__file__).with_name("manifests") / "templated.yaml"
RUN = make_planned_run()
EVERYTHING = PodSettings(
    image="runner:1",
    token_secret=("hf-token", "token"),
    cache_claim="hf-cache",
    workload_config_map=("prompts", "prompts.jsonl"),
)


def template_of(settings: PodSettings) -> Any:  # noqa: ANN401 - JSON
    """Return the Pod template of a run's Job, with a short word for the run spec."""
    job = build_job(OWNER, RUN, make_spec(RUN), settings, deadline_seconds=1)
    template = job["spec"]["template"]
    template["spec"]["containers"][0]["env"][0]["value"] = "the spec"
    return template


def test_the_whole_pod_of_a_template_is_as_reviewed() -> None:
    """Every change to a templated Pod is visible as a diff of a golden manifest."""
    merged = merge_pod_templates(PodTemplate.model_validate(ENGINE), PodTemplate.model_validate(POOL))
    assert template_of(PodSettings(image="runner:1", template=merged)) == yaml.safe_load(MANIFEST.read_text())


def test_an_empty_template_changes_nothing() -> None:
    """A study without a template has the Pods that it had before there were any."""
    assert template_of(PodSettings(image="runner:1", template=PodTemplate())) == template_of(
        PodSettings(image="runner:1")
    )


def test_everything_that_infpop_names_in_a_pod_is_reserved() -> None:
    """A template cannot replace a label, an annotation, a variable, a volume or a mount of InfPop by accident."""
    template = template_of(EVERYTHING)
    (container,) = template["spec"]["containers"]
    free = {"variables": "HF_HUB_DISABLE_TELEMETRY", "annotations": "prometheus.io/scrape"}  # a study may decide these
    variables = {each["name"] for each in container["env"]} - {free["variables"]}
    assert [name for name in sorted(variables) if reserved_variable(name) is None] == []
    assert [name for name in template["metadata"]["labels"] if matching(LABELS, name) is None] == []
    annotations = template["metadata"]["annotations"].keys() - {free["annotations"]}
    assert [name for name in sorted(annotations) if matching(ANNOTATIONS, name) is None] == []
    assert [each["name"] for each in template["spec"]["volumes"] if reserved_volume(each["name"]) is None] == []
    mounts = [each["mountPath"] for each in container["volumeMounts"]]
    assert [path for path in mounts if matching(MOUNT_PATHS, path) is None] == []


def test_what_a_study_may_decide_takes_the_place_of_infpops_own() -> None:
    """A variable occurs once, and an annotation has the study's value."""
    telemetry = {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "0"}
    wanted = PodTemplate.model_validate(
        {
            "metadata": {"annotations": {"prometheus.io/scrape": "false"}},
            "spec": {"containers": [{"name": "runner", "env": [telemetry]}]},
        }
    )
    template = template_of(PodSettings(image="runner:1", template=wanted))
    assert template["metadata"]["annotations"]["prometheus.io/scrape"] == "false"
    named = [each for each in template["spec"]["containers"][0]["env"] if each["name"] == telemetry["name"]]
    assert named == [telemetry]


def test_every_field_that_infpop_sets_in_a_pod_is_refused_or_replaced_on_purpose() -> None:
    """A study that copies a field of a run's Pod into its template learns why it may not, unless it is one it may."""
    pod = template_of(EVERYTHING)["spec"]
    (container,) = pod.pop("containers")
    may = (
        {"automountServiceAccountToken", "securityContext", "volumes"},
        {"name", "env", "imagePullPolicy", "volumeMounts"},
    )
    told = []
    for path, fields, allowed in (("", pod, may[0]), (".containers.0", container, may[1])):
        for name in fields.keys() - allowed:
            base: dict[str, object] = {"spec.engine.podTemplate.spec.containers": [{"name": "runner"}]}
            try:
                parse_object(changed(base | {f"spec.engine.podTemplate.spec{path}.{name}": fields[name]}))
            except StudyError as error:
                told += [str(problem) for problem in error.problems]
            else:
                told.append(f"{name} was accepted")
    assert told
    assert [line for line in told if "unknown field" in line or "accepted" in line] == []
