"""The runner finds a workload from a ConfigMap where the Pod mounts it."""

import json

from factories.kube_objects import OWNER, make_node
from factories.resolved import resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.cluster.jobs import job_of
from infpop_operator.core.decide import decide
from infpop_operator.core.model import History
from infpop_operator.settings import Settings


def test_the_path_of_a_config_maps_prompts_is_in_its_mount() -> None:
    """The run spec has the path at which the ConfigMap's key is mounted."""
    source = {"configMap": {"name": "prompts", "key": "mine.jsonl"}}
    body = make_study_document(OWNER.name, OWNER.namespace, workload={"source": source})
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    settings = Settings(runner_image="example.org/runner:1")
    resolved = resolve_study(body, [make_node()], History(started_at=START), settings)
    (run, *_) = decide(resolved.study, History(started_at=START), {}, START).start
    pod = job_of(resolved, run, settings)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    spec = next(json.loads(each["value"]) for each in container["env"] if each["name"] == "INFPOP_RUN_SPEC")
    (mount,) = (each["mountPath"] for each in container["volumeMounts"] if each["name"] == "workload")
    assert spec["workload"]["source"]["path"] == f"{mount}/mine.jsonl"
