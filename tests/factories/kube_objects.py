"""Kubernetes objects for tests, as API server JSON and as records; each keyword changes one thing."""

from dataclasses import replace
from typing import Any

from factories.studies import at, make_study
from infpop_operator.adapters.kube.job_manifest import Owner, PodSettings, build_job
from infpop_operator.adapters.kube.records import ContainerRecord, JobRecord, NodeRecord, PodRecord
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.run_spec import build_run_spec
from infpop_operator.core.study import Configuration
from infpop_runner.contract import RunSpec

OWNER = Owner(name="study", namespace="serving", uid="study-uid")
JOB_UID = "job-uid"
A100 = "NVIDIA-A100-SXM4-40GB"


def stamp(seconds: float) -> str:
    """Return a time this long after the Job's creation, in the API server's format."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_planned_run(gpu_count: int = 2, batch_sizes: tuple[int, ...] = (8, 16)) -> Run:
    """Return a run without further arguments, named as its Job is."""
    trials = tuple(
        PlannedTrial(index=index, configuration=Configuration(gpu_count=gpu_count, batch_size=batch))
        for index, batch in enumerate(batch_sizes, start=3)
    )
    return Run(name="study-0123456789", pool="a100", round=2, attempt=1, trials=trials)


def make_spec(run: Run) -> RunSpec:
    """Return the spec that the runner of `run` reads."""
    return build_run_spec(make_study(namespace="serving"), run)


def job_body(run: Run | None = None, settings: PodSettings | None = None, **status: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the Job of a run as the API server has it after its creation."""
    run = run or make_planned_run()
    body = build_job(OWNER, run, make_spec(run), settings or PodSettings(image="runner:1"), deadline_seconds=3600)
    body["metadata"] |= {"uid": JOB_UID, "resourceVersion": "7", "creationTimestamp": stamp(0)}
    body["status"] = status
    return body


def pod_body(job: dict[str, Any], **status: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the Pod that the Job controller creates for `job`, not yet on a Node."""
    template, name = job["spec"]["template"], job["metadata"]["name"]
    owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
    metadata = {
        **template["metadata"],
        "name": f"{name}-abcde",
        "namespace": job["metadata"]["namespace"],
        "uid": "pod-uid",
        "resourceVersion": "9",
        "creationTimestamp": stamp(1),
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, "spec": dict(template["spec"]), "status": {"phase": "Pending", **status}}


def make_job(**changes: object) -> JobRecord:
    """Return a Job that was just created."""
    job = JobRecord(
        namespace="serving",
        name="study-1",
        uid=JOB_UID,
        resource_version="1",
        study="study",
        study_uid=OWNER.uid,
        run="study-1",
        created_at=at(0),
        started_at=at(0),
    )
    return replace(job, **changes)


def make_pod(**changes: object) -> PodRecord:
    """Return a Pod of that Job that waits for the scheduler."""
    pod = PodRecord(
        namespace="serving",
        name="study-1-abcde",
        uid="pod-uid",
        resource_version="1",
        job_uid=JOB_UID,
        study="study",
        run="study-1",
        created_at=at(1),
    )
    return replace(pod, **changes)


def make_bound(**changes: object) -> PodRecord:
    """Return a Pod that was bound to its Node ten seconds after the Job's creation."""
    return make_pod(**({"node": "n1", "scheduled_at": at(10)} | changes))


def make_running(**changes: object) -> PodRecord:
    """Return a Pod whose container started at second 60."""
    return make_bound(**({"phase": "Running", "container": ContainerRecord(started_at=at(60))} | changes))


def make_ended(
    exit_code: int, message: str | None = None, *, reason: str = "Error", finished: float = 100, **changes: object
) -> PodRecord:
    """Return a Pod whose container has ended."""
    container = ContainerRecord(
        started_at=at(60),
        exit_code=exit_code,
        terminated_reason=reason,
        terminated_message=message,
        finished_at=at(finished),
    )
    return make_bound(**({"phase": "Failed" if exit_code else "Succeeded", "container": container} | changes))


def make_node(
    name: str = "n1", *, product: str = A100, gpus: int = 8, label: str = "nvidia.com/gpu.product", **changes: object
) -> NodeRecord:
    """Return a Node with GPUs; `labels` are added to its product label."""
    labels = {label: product} if product else {}
    labels |= changes.pop("labels", {})  # type: ignore[operator]
    node = NodeRecord(
        name=name,
        uid=f"uid-{name}",
        resource_version="1",
        labels=labels,
        capacity_gpus={"nvidia.com/gpu": gpus},
        cpus=64,
        arch="amd64",
    )
    return replace(node, **changes)
