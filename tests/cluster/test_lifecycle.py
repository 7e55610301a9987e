"""A study from `kubectl apply` to its result, and what of it can be seen on the cluster afterwards.

One study is run and looked at by most tests of this module: every configuration of a small space, one after the other,
in a namespace that admits restricted pods alone. Two of its runs break at first.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pytest
import yaml

from cluster.operator_process import OperatorProcess
from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import Behaviour, Crashes, Succeeds
from controlplane.cluster import ControlPlane
from controlplane.kubelet import PlayedRun
from infpop_operator.api.parse import parse_document
from infpop_runner.contract import RunSpec

pytestmark = pytest.mark.cluster

GPUS, BATCHES = (1, 2, 4, 8), (8, 64, 128, 256)
BREAK_AT_FIRST = {(2, 64), (8, 8)}
BEST = (8, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What is there when the study has ended."""

    place: Place
    study: Body
    jobs: list[Body]
    pods: list[Body]
    runs: tuple[PlayedRun, ...]

    @property
    def status(self) -> Body:
        """The status of the study."""
        status: Body = self.study["status"]
        return status


def _play(spec: RunSpec, attempt: int) -> Behaviour:
    if attempt == 1 and _configuration(spec) in BREAK_AT_FIRST:
        return Crashes(message="CUDA error: an illegal memory access was encountered")
    return Succeeds(throughput=throughput)


def _configuration(spec: RunSpec) -> tuple[int, int]:
    (trial,) = spec.trials
    return (spec.gpu_count, trial.batch_size)


@pytest.fixture(scope="module")
def finished(installed: ControlPlane, quick_operator: OperatorProcess) -> Iterator[Finished]:
    """The study when it has ended, and its place."""
    assert quick_operator.is_running()
    name = f"test-{uuid.uuid4().hex[:10]}"
    installed.kubectl("create", "namespace", name)
    installed.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    place = Place(installed, name)
    with place.nodes("NVIDIA-A100-SXM4-40GB"), place.kubelet(_play) as kubelet:
        apply_documents(
            installed,
            place.document(
                searchSpace={"gpuCount": list(GPUS), "batchSize": list(BATCHES)},
                algorithm={"name": "grid", "trialsPerRun": 1},
                budget={"maxTrials": 16},
                publish={"configMap": "best"},
            ),
        )
        place.wait_for("Succeeded")
        place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
        place.wait_until(
            lambda: all("ttlSecondsAfterFinished" in job["spec"] for job in place.objects("job")),
            what="a TTL of all Jobs",
        )
        yield Finished(
            place=place,
            study=place.get("study", "study"),
            jobs=place.objects("job"),
            pods=place.objects("pod"),
            runs=kubelet.runs,
        )
    installed.kubectl("delete", "namespace", name, "--wait=false")
    place.close()


def test_the_status_has_the_best_and_how_to_serve_it(finished: Finished) -> None:
    """`status.best` is the fastest configuration that works, with the arguments that serve it."""
    best = finished.status["best"]
    assert (best["pool"], best["gpuCount"], best["batchSize"]) == ("a100", *BEST)
    assert float(best["throughput"]) == pytest.approx(throughput(*BEST), rel=1e-4)
    assert {"--tensor-parallel-size=8", "--max-num-seqs=256"} <= set(best["engineArgs"])
    states = {kind: find_condition(finished.status, kind)["status"] for kind in ("Ready", "Reconciling", "Stalled")}
    assert states == {"Ready": "True", "Reconciling": "False", "Stalled": "False"}
    assert find_condition(finished.status, "Succeeded")["reason"] == "SpaceExhausted"
    assert finished.status["observedGeneration"] == finished.study["metadata"]["generation"]


def test_kubectl_get_shows_the_result(finished: Finished) -> None:
    """`kubectl get tstudy` shows state, trials, and pool and number of the best; `-o wide` the rest of it."""
    listing, namespace = finished.place.cluster.kubectl, finished.place.namespace
    heading, row = listing("get", "tstudy", "--namespace", namespace).splitlines()
    assert heading.split() == ["NAME", "STATE", "TRIALS", "POOL", "TOK/S", "AGE"]
    best, progress = finished.status["best"]["throughput"], finished.status["progress"]
    assert row.split()[:5] == ["study", "Succeeded", progress, "a100", best]
    wide = listing("get", "tstudy", "--namespace", namespace, "--output=wide").splitlines()[1]
    assert [*row.split()[:5], "8", "256", "example/model", "vllm"] == wide.split()[:9]


def test_nothing_is_measured_twice(finished: Finished) -> None:
    """Invariant 3: each configuration runs once, and once more only where its run broke."""
    counts = Counter(_configuration(run.spec) for run in finished.runs)
    assert counts == {cell: 2 if cell in BREAK_AT_FIRST else 1 for cell in counts}
    assert set(counts) >= BREAK_AT_FIRST


def test_no_larger_batch_follows_an_out_of_memory(finished: Finished) -> None:
    """Invariant 3: what ran out of memory rules out larger batches at that GPU count, and none at another."""
    for (gpus, batch), (later_gpus, later_batch) in combinations(
        [_configuration(run.spec) for run in finished.runs], 2
    ):
        out_of_memory = throughput(gpus, batch) == "GpuOutOfMemory"
        assert not (out_of_memory and later_gpus == gpus and later_batch >= batch)
    tried = {_configuration(run.spec) for run in finished.runs}
    assert {(gpus, batch) for gpus in GPUS for batch in BATCHES if isinstance(throughput(gpus, batch), float)} <= tried
    assert len(tried) < len(GPUS) * len(BATCHES)


def test_rows_show_every_trial(finished: Finished) -> None:
    """Each trial has a row with its number or the reason why there is none, and how often it was tried."""
    rows = {(row["gpuCount"], row["batchSize"]): row for row in finished.status["trials"]}
    assert rows.keys() == {_configuration(run.spec) for run in finished.runs}
    for cell, row in rows.items():
        expected = throughput(*cell)
        if isinstance(expected, float):
            assert (row["state"], float(row["throughput"])) == ("Measured", pytest.approx(expected, rel=1e-4))
        else:
            assert (row["state"], row["reason"], "throughput" in row) == ("Infeasible", expected, False)
        assert row["attempts"] == (2 if cell in BREAK_AT_FIRST else 1)


def test_the_operator_writes_the_status_alone(finished: Finished) -> None:
    """Invariant 7: the spec is as its owner wrote it, and of the study the operator has written its status alone."""
    metadata = finished.study["metadata"]
    assert metadata["generation"] == 1
    managers = {(entry["manager"], entry.get("subresource")): entry["fieldsV1"] for entry in metadata["managedFields"]}
    own = {key: fields for key, fields in managers.items() if not key[0].startswith("kubectl")}
    assert [key[1] for key in own] == ["status"]
    assert [list(fields) for fields in own.values()] == [["f:status"]]


def test_objects_of_other_owners_are_not_changed(finished: Finished) -> None:
    """Invariant 2: study, namespace and nodes have no finalizer and no annotation of ours; ours have no finalizer."""
    place = finished.place
    nodes = [node for node in place.objects("node") if node["metadata"]["name"].startswith(place.namespace)]
    namespace = json.loads(place.cluster.kubectl("get", "namespace", place.namespace, "--output=json"))
    assert nodes
    for found in (finished.study, namespace, *nodes):
        marks = [*found["metadata"].get("finalizers", ()), *found["metadata"].get("annotations", ())]
        assert [mark for mark in marks if "infpop" in mark or "kopf" in mark] == []
    assert "finalizers" not in place.get("configmap", "best")["metadata"]


def test_pods_are_restricted(finished: Finished) -> None:
    """Invariant 8: runs pass Pod Security "restricted" and get no token of a service account."""
    assert len(finished.pods) == len(finished.runs)
    for pod in finished.pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert [volume["name"] for volume in spec["volumes"]] == ["tmp", "cache", "shm"]
        assert spec["securityContext"]["runAsNonRoot"] is True


def test_jobs_are_labelled_with_what_they_measure(finished: Finished) -> None:
    """A Job belongs to its study and carries run, pool, GPU count and trials, for people who read Jobs."""
    assert {job["metadata"]["labels"]["infpop.io/run"] for job in finished.jobs} == {
        run.spec.run for run in finished.runs
    }
    for job in finished.jobs:
        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("ThroughputStudy", finished.study["metadata"]["uid"])
        (trial,) = json.loads(job["metadata"]["annotations"]["infpop.io/trials"])
        assert (int(job["metadata"]["labels"]["infpop.io/gpu-count"]), trial["batchSize"]) in {
            _configuration(run.spec) for run in finished.runs
        }


def test_each_event_is_recorded_once(finished: Finished) -> None:
    """Every trial, every change of a condition and every round is one Event, however many passes there were."""
    events = [event for event in finished.place.objects("event") if event["involvedObject"]["name"] == "study"]
    assert max(Counter(event["message"] for event in events).values()) == 1
    assert {event["count"] for event in events} == {1}
    # The study may reach the operator before the watch has told it of the nodes that the fixture created just before.
    reasons = Counter(event["reason"] for event in events if event["reason"] != "NoMatchingNodes")
    rows = Counter(row["state"] for row in finished.status["trials"])
    assert reasons == {
        "Valid": 1,
        "RoundStarted": 1,
        "RunBroken": len(BREAK_AT_FIRST),
        "TrialMeasured": rows["Measured"],
        "TrialInfeasible": rows["Infeasible"],
        "Succeeded": 1,
        "Published": 1,
    }


def test_the_best_is_published(finished: Finished) -> None:
    """The ConfigMap has the arguments as a JSON list and as lines, the result, and a study that can be run again."""
    data = finished.place.get("configmap", "best")["data"]
    arguments = finished.status["best"]["engineArgs"]
    assert json.loads(data["args"]) == arguments
    assert data["args.txt"].splitlines() == arguments
    assert json.loads(data["best.json"]) == finished.status["published"]
    assert finished.status["published"].items() >= finished.status["best"].items()
    document = parse_document(data["study.yaml"], source="study.yaml")
    assert (document.metadata.name, document.spec.algorithm.name) == ("study", "grid")
    assert yaml.safe_load(data["study.yaml"])["spec"]["publish"] == {"configMap": "best"}


def test_an_ended_study_costs_no_writes(finished: Finished) -> None:
    """After its end a study is reconciled with every listing, and nothing more is written."""
    cluster, namespace = finished.place.cluster, finished.place.namespace
    before = len(cluster.audit_entries(about=namespace))
    finished.place.wait_for_listings(3)
    later = [
        entry for entry in cluster.audit_entries(about=namespace)[before:] if entry.user_agent.startswith("infpop/")
    ]
    assert {(entry.verb, entry.resource) for entry in later} == {
        ("get", "configmaps")
    }  # both that are published, once each
    assert len(later) <= 10
