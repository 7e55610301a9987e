"""A study's Pods have what its Pod template asks for, and what a namespace or the API server refuses is reported."""

import pytest

from cluster.place import Body, Place, throughput
from cluster.studies import apply_documents, find_condition
from controlplane.behaviours import HangsLoading, replay

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]

ONE_TRIAL = {"searchSpace": {"gpuCount": [2], "batchSize": [8]}, "budget": {"maxTrials": 1}}


@pytest.fixture
def restricted(place: Place) -> Place:
    """A place whose namespace enforces Pod Security restricted, with a runtime class and a service account."""
    place.cluster.kubectl("label", "namespace", place.namespace, "pod-security.kubernetes.io/enforce=restricted")
    account = {"name": "runs", "namespace": place.namespace}
    apply_documents(
        place.cluster,
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": place.namespace}, "handler": "h"},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
    )
    return place


def engine(spec: Body, metadata: Body | None = None) -> Body:
    """Return an engine with this Pod template."""
    return {"name": "vllm", "podTemplate": {"metadata": metadata or {}, "spec": spec}}


def container(env: list[Body], **fields: object) -> list[Body]:
    """Return the container of a template."""
    return [{"name": "runner", "env": env, **fields}]


def test_a_pod_has_what_its_templates_ask_for(restricted: Place) -> None:
    """Engine's and pool's template are in the Pod, which Pod Security restricted admits, and which runs."""
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    mount = {"name": "certs", "mountPath": "/certs", "readOnly": True}
    source = {"name": "certs", "configMap": {"name": "company-ca"}}
    spec: Body = {
        "runtimeClassName": restricted.namespace,
        "serviceAccountName": "runs",
        "securityContext": {"runAsUser": 1000650000, "runAsGroup": 0},
        "containers": container([proxy, {"name": "NCCL_ALGO", "value": "Ring"}], volumeMounts=[mount]),
        "volumes": [source],
    }
    topology = {"kueue.x-k8s.io/podset-required-topology": "rack"}
    tree = {"name": "NCCL_ALGO", "value": "Tree"}
    pool = restricted.pool(
        podTemplate={"metadata": {"labels": {"team": "a"}}, "spec": {"containers": container([tree])}}
    )
    restricted.study(engine=engine(spec, {"annotations": topology}), nodePools=[pool], **ONE_TRIAL)
    with restricted.kubelet(lambda _spec, _attempt: HangsLoading()):
        restricted.wait_for_run("ModelLoading")
        (pod,) = restricted.running_pods()
    (runner,) = pod["spec"]["containers"]
    assert runner["env"][-2:] == [proxy, tree]
    assert mount in runner["volumeMounts"]
    assert source["name"] in [volume["name"] for volume in pod["spec"]["volumes"]]
    assert [volume for volume in pod["spec"]["volumes"] if "projected" in volume] == []  # no token
    assert (pod["spec"]["runtimeClassName"], pod["spec"]["serviceAccountName"]) == (restricted.namespace, "runs")
    assert (
        pod["spec"]["securityContext"].items() >= {"runAsUser": 1000650000, "runAsGroup": 0, "fsGroup": 65532}.items()
    )
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["annotations"].items() >= topology.items()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"hostIPC": True}, "host namespaces (hostIPC=true)"),
        ({"runtimeClassName": "absent"}, 'RuntimeClass "absent" not found'),
        ({"serviceAccountName": "absent"}, 'serviceaccount "absent" not found'),
    ],
)
def test_a_pod_that_is_refused_is_reported_and_a_corrected_study_goes_on(
    restricted: Place, spec: Body, words: str
) -> None:
    """The state quotes who refused it and why; without the field the study is measured."""
    restricted.study(engine=engine(spec), **ONE_TRIAL)
    status = restricted.wait_for("Ready", "False", reason="PodRefused")
    assert words in find_condition(status, "Ready")["message"]
    with restricted.kubelet(replay(throughput)):
        restricted.change(engine={"podTemplate": None})
        if "serviceAccountName" in spec:  # it keeps the round and its run, which ends at `suspend`
            restricted.change(suspend=True)
            restricted.wait_until(lambda: not restricted.objects("job"), what="the end of the refused run")
            restricted.change(suspend=False)
        restricted.wait_for("Succeeded")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": container([{"name": "A", "value": "1"}] * 2)}, "Duplicate value"),
        ({"containers": [{"name": "runner"}, {"name": "runner"}]}, "Too many: 2"),
        ({"hostNetwork": True}, 'unknown field "spec.engine.podTemplate.spec.hostNetwork"'),
        ({"securityContext": {"runAsUser": 0}}, "should be greater than or equal to 1"),
    ],
)
def test_what_the_schema_cannot_hold_is_refused_when_it_is_applied(place: Place, spec: Body, words: str) -> None:
    """Nothing of a template is dropped in silence by `kubectl apply`."""
    with pytest.raises(AssertionError, match="podTemplate") as caught:
        apply_documents(place.cluster, place.document(engine=engine(spec)))
    assert words in str(caught.value)
