"""The real API server accepts the CRD, fills defaults, and refuses what the rules refuse, in our words."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.documents import Document, changed
from api.rule_examples import EXAMPLES
from api.status_samples import large_status
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_operator.api.cel import RULES, Rule
from infpop_operator.api.crd import NAME
from infpop_operator.api.parse import parse_object
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.errors import StudyError

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
DRY = {"dryRun": "All"}
STUDIES = [
    (path.name, tree)
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    for tree in yaml.safe_load_all(path.read_text())
    if tree["kind"] == "ThroughputStudy"
]


class Api:
    """The API server with the CRD, and one namespace in it; `query` has what kubectl sends with `--dry-run`, say."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.kubectl = control_plane.kubectl
        self._admin = control_plane.admin
        self._namespace = namespace
        self._studies = f"/apis/infpop.io/v1alpha1/namespaces/{namespace}/throughputstudies"

    def create(self, document: Document, **query: str) -> Document:
        """Create a study in the namespace and return what the API server made of it."""
        document = {**document, "metadata": {**document["metadata"], "namespace": self._namespace}}
        return self._admin.create(self._studies, document, **query)

    def refusal(self, document: Document, **query: str) -> str:
        """Return what the API server says against a study."""
        with pytest.raises(AssertionError) as caught:
            self.create(document, **query)
        (_, _, answer) = str(caught.value).partition(": ")
        return str(json.loads(answer)["message"])

    def patch(self, patch: Document, subresource: str = "") -> Document:
        """Merge `patch` into the study `study` and return it."""
        return self._admin.patch(f"{self._studies}/study{subresource}", patch)

    def table(self) -> str:
        """Return what `kubectl get tstudy -o wide` shows."""
        return self.kubectl("get", "tstudy", f"--namespace={self._namespace}", "--output=wide")


@pytest.fixture(scope="module")
def crd(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRD as `crds/` has it, established and published."""
    control_plane.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")

    def is_served() -> bool:
        paths = control_plane.kubectl("get", "--raw", "/openapi/v3")
        is_published = "apis/infpop.io/v1alpha1" in paths
        return is_published and control_plane.is_established(NAME)

    wait_for(is_served, seconds=30.0, what="the CRD to be established and published")
    return control_plane


@pytest.fixture
def api(crd: ControlPlane, namespace: str) -> Api:
    """The API server and a namespace of this test."""
    return Api(crd, namespace)


@pytest.fixture(scope="module")
def dry_api(crd: ControlPlane) -> Api:
    """The API server for requests that change nothing."""
    return Api(crd, "default")


def test_defaults_are_filled_in_by_the_api_server(api: Api) -> None:
    """`kubectl get -o yaml` shows the whole study, the same as InfPop reads on one machine."""
    spec = api.create(changed({}))["spec"]
    assert spec == parse_object(changed({})).model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]


def test_explain_describes_every_field(crd: ControlPlane) -> None:
    """`kubectl explain` has an answer at every depth."""
    (schema,) = (
        schema
        for name, schema in json.loads(crd.kubectl("get", "--raw", "/openapi/v3/apis/infpop.io/v1alpha1"))[
            "components"
        ]["schemas"].items()
        if name.endswith("v1alpha1.ThroughputStudy")
    )
    undescribed = [path for path, part in _fields(schema) if len(part.get("description", "")) <= 5]
    assert undescribed == []
    assert "tolerationSeconds" in crd.kubectl("explain", "throughputstudy.spec", "--recursive")
    assert "price of one GPU" in crd.kubectl("explain", "tstudy.spec.nodePools.pricePerGPUHour")


def _fields(schema: Document, path: str = "") -> Iterator[tuple[str, Document]]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from _fields(inner.get("items", inner), f"{path}.{name}")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_broken_rule_is_refused_with_its_own_message(dry_api: Api, rule: Rule) -> None:
    """Each rule passes one study and refuses another, and says which field and what to do."""
    assert dry_api.create(changed(EXAMPLES[rule.name].valid), **DRY)
    refusal = dry_api.refusal(changed(EXAMPLES[rule.name].invalid), **DRY)
    assert rule.message in refusal
    path = ".".join(part for part in (rule.path, rule.field) if part)
    assert path in re.sub(r"\[\d+\]", "[]", refusal)
    assert "evaluating rule" not in refusal


@pytest.mark.parametrize(("name", "study"), STUDIES, ids=[name for name, _ in STUDIES])
def test_every_example_is_accepted(dry_api: Api, name: str, study: Document) -> None:
    """A file from `examples/` can be applied as it is."""
    assert dry_api.create(study, **DRY)["kind"] == "ThroughputStudy", name


def test_spec_and_status_have_their_own_ways(api: Api) -> None:
    """A user who writes the spec cannot write results, and the operator cannot write the spec through the status."""
    api.create(changed({}))
    patched = api.patch({"spec": {"suspend": True}, "status": {"progress": "9/9"}})
    assert (patched["spec"]["suspend"], "status" in patched) == (True, False)
    patched = api.patch({"spec": {"suspend": False}, "status": {"progress": "9/9"}}, "/status")
    assert (patched["spec"]["suspend"], patched["status"]) == (True, {"progress": "9/9"})
    assert patched["metadata"]["generation"] == 2


def test_an_unknown_field_is_refused_or_dropped(api: Api) -> None:
    """A misspelt field is reported; if the client asks for no validation, the field is dropped all the same."""
    document = changed({"spec.engine.gpuMemoryUtilisation": "0.9"})
    assert 'unknown field "spec.engine.gpuMemoryUtilisation"' in api.refusal(document)
    assert "gpuMemoryUtilisation" not in api.create(document, fieldValidation="Ignore")["spec"]["engine"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spec.searchSpace.batchSize": list(range(1, 10_001))}, "must have at most 64 items"),
        ({"spec.nodePools": [{"name": f"p{number}"} for number in range(10_000)]}, "must have at most 16 items"),
        ({"spec.engine.args": {f"a{number}": "1" for number in range(10_000)}}, "must have at most 32 items"),
        ({"spec.engine.args": {"block_size": "x" * 1_000_000}}, "may not be more than 512"),
        ({"spec.model.name": "x" * 1_000_000}, "may not be more than 512"),
        ({"spec.nodePools.0.gpuProduct": "(" * 1_000_000}, "may not be more than 128"),
        ({"spec.searchSpace.extra": [{"name": "a", "values": ["{0.__class__}"] * 10_000}]}, "at most 16 items"),
    ],
    ids=["batches", "pools", "arguments", "argument", "model", "pattern", "values"],
)
def test_what_is_far_too_large_is_refused(dry_api: Api, changes: dict[str, object], expected: str) -> None:
    """A list of 10,000 elements or a text of a megabyte gets one plain answer."""
    assert expected in dry_api.refusal(changed(changes))


def test_a_study_without_pools_hears_of_nothing_else(dry_api: Api) -> None:
    """What the rules say of pools, such as their scaleFromZero, is no answer to an empty list."""
    refusal = dry_api.refusal(changed({"spec.nodePools": []}))
    assert "spec.nodePools in body should have at least 1 items" in refusal
    assert "scaleFromZero" not in refusal


@pytest.mark.parametrize("value", [8, "8", "0.5", "500m"])
def test_cpus_are_written_as_in_a_pod(dry_api: Api, value: object) -> None:
    """A whole number needs no quotes; the API server keeps what was written."""
    kept = dry_api.create(changed({"spec.nodePools.0.resources.cpu": value}), **DRY)
    assert kept["spec"]["nodePools"][0]["resources"] == {"cpu": value}


@pytest.mark.parametrize("value", [0, -1, 10_000, 1.5, True, "", "-1", "1e3", "8 CPUs"])
def test_what_is_no_number_of_cpus_is_refused(dry_api: Api, value: object) -> None:
    """The API server refuses what the operator would."""
    document = changed({"spec.nodePools.0.resources.cpu": value})
    assert "spec.nodePools[0].resources.cpu" in dry_api.refusal(document, **DRY)
    with pytest.raises(StudyError):
        parse_object(document)


@pytest.mark.parametrize(("value", "kept"), [(None, "auto"), ("auto", "auto"), (1, 1), (8, 8)])
def test_trials_in_a_run_are_a_number_or_auto(dry_api: Api, value: object, kept: object) -> None:
    """A study that does not say how many leaves it to the search, and each form stays what it is."""
    document = changed({} if value is None else {"spec.algorithm.trialsPerRun": value})
    assert dry_api.create(document, **DRY)["spec"]["algorithm"]["trialsPerRun"] == kept


@pytest.mark.parametrize("value", [0, 9, "Auto", "4", "automatic", True])
def test_another_word_or_number_of_trials_in_a_run_is_refused(dry_api: Api, value: object) -> None:
    """The API server names the field; the message of InfPop itself is in tests/api."""
    document = changed({"spec.algorithm.trialsPerRun": value})
    assert "spec.algorithm.trialsPerRun" in dry_api.refusal(document, **DRY)


@pytest.mark.parametrize("text", ["--foo; rm -rf /", "{0.__class__}", "$(cmd)", "`cmd`", "%s%n", "../../etc", "<&>"])
def test_hostile_text_is_data(api: Api, text: str) -> None:
    """As a value it is kept as it is; as a name it is refused."""
    kept = api.create(changed({"spec.engine.args": {"block_size": text}, "spec.model.name": text}))["spec"]
    assert (kept["engine"]["args"], kept["model"]["name"]) == ({"block_size": text}, text)
    for path in ("metadata.name", "spec.nodePools.0.name", "spec.scheduling.queueName", "spec.publish.configMap"):
        assert path.replace(".0.", "[0].") in api.refusal(changed({path: text}))
    assert "argument name" in api.refusal(changed({"spec.engine.args": {text: "1"}}))
    assert "label" in api.refusal(changed({"spec.nodePools.0.nodeSelector": {text: "1"}}))


def test_no_field_reaches_the_host(api: Api) -> None:
    """Nothing that a study says can mount a path of the node or make a container privileged."""
    for field in ("volumes", "hostPath", "securityContext", "hostNetwork", "env", "command"):
        assert "unknown field" in api.refusal(changed({f"spec.nodePools.0.{field}": {}}))


def test_the_largest_status_is_kept_as_it_was_written(api: Api) -> None:
    """500 rows of the worst strings are accepted, and come back as they were."""
    api.create(changed({}))
    status = large_status()
    stored = api.patch({"status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}, _STATUS)
    assert StudyStatus.model_validate(stored["status"]) == status


_STATUS = "/status"


def test_the_table_shows_the_state_of_a_study(api: Api) -> None:
    """`kubectl get tstudy -o wide` shows state, progress, best, model and engine."""
    api.create(changed({}))
    condition: dict[str, Any] = {
        "type": "Ready",
        "status": "False",
        "reason": "Unschedulable",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    best = {"pool": "a100", "gpuCount": 8, "batchSize": 256, "throughput": "4312.5", "run": "study-1", "spread": "0"}
    best |= {"throughputPerGPU": "539.1", "round": 1, "engineArgs": []}
    api.patch({"status": {"conditions": [condition], "best": best, "progress": "15/20"}}, _STATUS)
    for word in ("org/model", "vllm", "Unschedulable", "4312.5", "8", "256", "15/20"):
        assert word in api.table().splitlines()[1].split()


def test_the_table_says_nothing_of_a_study_that_no_operator_has_seen(api: Api) -> None:
    """State, trials, pool and result are empty until an operator writes them: there is no default in the status."""
    stored = api.create(changed({}))
    assert "status" not in stored
    heading, row = (line for line in api.table().splitlines())
    assert row.split()[:3] == ["study", "org/model", "vllm"]
    assert row[heading.index("STATE") : heading.index("MODEL")].strip() == ""
