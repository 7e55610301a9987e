"""Which run a Job or a Pod belongs to: the run spec decides, which is immutable; labels decide only without one."""

from typing import Any

import pytest

from factories.kube_objects import OWNER, job_body, make_planned_run, pod_body
from infpop_operator.adapters.kube.record_parsing import parse_job, parse_pod

RUN = make_planned_run().name
OTHERS = {"infpop.io/run": "other", "infpop.io/study": "other", "infpop.io/gpu-count": "1", "infpop.io/pool": "other"}


def altered(body: dict[str, Any], **metadata: object) -> dict[str, Any]:
    """Return the object with other metadata; None removes a part."""
    return {**body, "metadata": {**body["metadata"], **metadata}}


@pytest.mark.parametrize("labels", [None, {}, OTHERS], ids=["none", "empty", "another run's"])
def test_labels_do_not_change_which_run_an_object_belongs_to(labels: dict[str, str] | None) -> None:
    """A Pod that its Job controller created, and a Job of the run's name, are those of their run spec."""
    job = parse_job(altered(job_body(), labels=labels, ownerReferences=None, annotations=None))
    assert (job.study, job.study_uid, job.run) == ("study", OWNER.uid, RUN)
    pod = parse_pod(altered(pod_body(job_body()), labels=labels, generateName=f"{RUN}-", ownerReferences=None))
    assert (pod.study, pod.study_uid, pod.run, pod.job_uid) == ("study", OWNER.uid, RUN, None)
    assert (pod.pool, pod.gpu_count) == ("a100", 2)


def test_copies_belong_to_no_run() -> None:
    """A Job with the run spec of another name, and a Pod that neither labels nor a Job controller made one of a run."""
    assert parse_job(altered(job_body(), name="copy")).run is None
    assert parse_pod(altered(pod_body(job_body()), name="debug", labels=None)).run is None


@pytest.mark.parametrize("spec", ["kept", "without a namespace", "none"])
def test_copies_in_another_namespace_belong_to_no_run(spec: str) -> None:
    """A namespace that was restored under another name has Jobs and Pods that its study did not create."""
    job = job_body()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for each in container["env"]:
        if each["name"] == "INFPOP_RUN_SPEC" and spec != "kept":
            each["value"] = each["value"].replace('"namespace":"serving"', '"namespace":""') if spec != "none" else ""
    pod = pod_body(job)
    assert (parse_job(job).run, parse_pod(pod).run) == (RUN, RUN)
    for record in (parse_job(altered(job, namespace="copy")), parse_pod(altered(pod, namespace="copy"))):
        assert (record.study, record.run, record.altered) == (None, None, ())


def test_the_namespace_in_an_annotation_does_not_hide_a_run() -> None:
    """Anyone may change an annotation: the run spec decides."""
    annotations = {**job_body()["metadata"]["annotations"], "infpop.io/study-key": "other/study/uid"}
    assert parse_job(altered(job_body(), annotations=annotations)).run == RUN


HOSTILE = ("[" * 100_000, '{"run": "a", "study": "b", "pool": ' + "[" * 5_000 + "]" * 5_000 + "}", "9" * 10_000)
UNNAMED = ('{"run": 3}', '{"run": "a"}', '{"run": "a", "study": "\\ud800"}', '{"run": "a", "study": "b,c=d"}')


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", *UNNAMED, *HOSTILE], ids=lambda text: text[:40])
def test_without_a_run_spec_the_labels_decide(text: str) -> None:
    """An object of another version, or one whose environment a policy replaced, is found by its labels."""
    job = job_body()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "INFPOP_RUN_SPEC", "value": text}]
    record = parse_job(job)
    assert (record.study, record.study_uid, record.run, record.altered) == ("study", OWNER.uid, RUN, ())


def test_what_is_not_altered_says_nothing() -> None:
    """Further labels and owners of other clients are no alteration."""
    body = job_body()
    labels = {**body["metadata"]["labels"], "team": "ml"}
    owners = [{"uid": "project", "kind": "Project"}, *body["metadata"]["ownerReferences"]]
    assert parse_job(altered(body, labels=labels, ownerReferences=owners)).altered == ()
    assert parse_pod(pod_body(body)).altered == ()


def test_each_alteration_says_what_was_there() -> None:
    """Labels with their value, and the owner."""
    body = job_body()
    labels = {**body["metadata"]["labels"], "infpop.io/round": "9"}
    del labels["infpop.io/study"]
    found = parse_job(altered(body, labels=labels, ownerReferences=[{"uid": "other", "controller": True}])).altered
    assert [(each.label, each.value) for each in found] == [
        ("infpop.io/study", "study"),
        ("infpop.io/round", "2"),
        (None, OWNER.uid),
    ]
