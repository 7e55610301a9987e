"""What a Pod template cannot have: each input is refused with the reason and with what to write instead."""

import pytest

from api.documents import changed
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError

ENGINE, POOL = "spec.engine.podTemplate", "spec.nodePools.0.podTemplate"
SECRET = {"name": "v", "secret": {"secretName": "s"}}


# What Kubernetes accepts as the path of a key, and what it refuses.
KEY_PATHS = (("a", ".a", "a/b", "a/..b", "a/.../b", "a.."), ("..", "../a", "a/../b", "a/..", "..a", "/a", "a/"))


def keys_at(path: str) -> dict[str, object]:
    """Return a volume that has a key of a ConfigMap at this path."""
    return {"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": path}]}}


def runner(**fields: object) -> list[object]:
    """Return the container of a template."""
    return [{"name": "runner", **fields}]


def variable(name: str, **fields: object) -> list[object]:
    """Return a container with one variable."""
    return runner(env=[{"name": name, **(fields or {"value": "x"})}])


def mount(path: str, **fields: object) -> list[object]:
    """Return a container with one mount."""
    return runner(volumeMounts=[{"name": "v", "mountPath": path, **fields}])


CONTAINERS, CONTAINER = f"{ENGINE}.spec.containers", "spec.engine.podTemplate.spec.containers[0]"
VOLUMES, LABELS, ANNOTATIONS = f"{ENGINE}.spec.volumes", f"{ENGINE}.metadata.labels", f"{ENGINE}.metadata.annotations"
USER = f"{ENGINE}.spec.securityContext"
TABLE: list[tuple[str, object, str]] = [
    # What would measure something else.
    (CONTAINERS, variable("CUDA_VISIBLE_DEVICES"), "would measure on other devices than Kubernetes gave the run"),
    (CONTAINERS, variable("NVIDIA_VISIBLE_DEVICES", value="all"), "Remove it, and set spec.searchSpace.gpuCount."),
    (CONTAINERS, variable("WORLD_SIZE"), "is set by the engine for each of its processes. Remove it."),
    (CONTAINERS, variable("INFPOP_RUN_SPEC"), "such variables are the runner's own. Remove it."),
    (CONTAINERS, variable("HF_HOME"), "its caches are below /cache. Remove it; model.cacheClaim keeps /cache"),
    (CONTAINERS, variable("PYTHONPATH"), "would start another program than the image's. Remove it, and build it into"),
    (CONTAINERS, variable("HF_TOKEN"), "is the hub's token. Remove it, and set spec.model.tokenSecretRef."),
    (CONTAINERS, runner(command=["sh"]), "is the runner's, which alone knows how to measure. Set engine arguments in"),
    (CONTAINERS, runner(args=["--x"]), f"{CONTAINER}.args: is the runner's"),
    (CONTAINERS, runner(image="x"), "Set spec.engine.image or spec.nodePools[].image instead."),
    (CONTAINERS, runner(resources={}), "is a field of the pool. Set spec.nodePools[].resources instead"),
    (CONTAINERS, runner(envFrom=[]), "List them in env, with valueFrom."),
    (CONTAINERS, runner(livenessProbe={}), "could restart or stop a run that measures. Remove it."),
    (CONTAINERS, [{"name": "main"}], "\"main\": must be 'runner'. Write runner."),
    (CONTAINERS, [*runner(), {"name": "side"}], "would run beside the measurement, or keep the Job alive"),
    (f"{ENGINE}.spec.initContainers", [], "Build it into the image of the runner."),
    (f"{ENGINE}.spec.restartPolicy", "Always", "is always Never: a restarted runner would measure what is left"),
    (f"{ENGINE}.spec.activeDeadlineSeconds", 5, "Set spec.measurement.timeouts instead."),
    (CONTAINERS, mount("/cache/hub"), "belongs to InfPop, Kubernetes or the kernel. Use another path"),
    (CONTAINERS, mount("/usr/bin"), "would hide what the image has there. Use a path below it"),
    (CONTAINERS, mount("/a/../tmp"), "has . or .. in it. Write the path without."),
    (CONTAINERS, mount("data"), '"data": is not a path where a volume can be mounted. Write for example /data'),
    (CONTAINERS, mount("/data/"), '"/data/": is not a path where a volume can be mounted. Write for example /data'),
    (CONTAINERS, mount("/data", subPath="a/../b"), "leaves the volume. Write a path inside the volume."),
    (CONTAINERS, mount("/data", subPath="/a"), "is not a path in a volume."),
    *((VOLUMES, [keys_at(path)], f'"{path}": is not the path of a file in a volume.') for path in KEY_PATHS[1]),
    (VOLUMES, [SECRET | {"name": "cache"}], "is the name of a volume of InfPop. Use another name."),
    (LABELS, {"infpop.io/run": "x"}, "is set by InfPop, which finds its Pods by it. Use a key of another domain."),
    (LABELS, {"kueue.x-k8s.io/queue-name": "x"}, "Remove it, and set spec.scheduling.queueName."),
    (LABELS, {"sidecar.istio.io/inject": "true"}, "a sidecar, which would keep the run's Job alive after its result"),
    (ANNOTATIONS, {"karpenter.sh/do-not-disrupt": "false"}, "whose measurement would be lost. Remove it."),
    (ANNOTATIONS, {"prometheus.io/port": "80"}, "says where the runner's metrics are. Remove it."),
    (ANNOTATIONS, {"cdi.k8s.io/gpus": "nvidia.com/gpu=all"}, "would add devices that Kubernetes did not give the run"),
    (ANNOTATIONS, {"devices.nri.io/container.runner": "x"}, "would add devices that Kubernetes did not give the run"),
    (ANNOTATIONS, {"io.kubernetes.cri-o.Devices": "/dev/x"}, "would add devices that Kubernetes did not give the run"),
    # What would give a run more rights.
    (f"{ENGINE}.spec.hostNetwork", True, "would give the run rights on its node, which Pod Security refuses."),
    (f"{ENGINE}.spec.hostPid", True, "would give the run rights on its node, which Pod Security refuses."),
    (USER, {"runAsUser": 0}, "runAsUser: 0: is root, which no run may be. Use 1 or more."),
    (USER, {"privileged": True}, "privileged: is set by InfPop as Pod Security restricted wants it. Remove it."),
    (USER, {"capabilities": {"add": ["SYS_ADMIN"]}}, "capabilities: is set by InfPop as Pod Security restricted"),
    (CONTAINERS, runner(securityContext={}), "podTemplate.spec.securityContext has the user and its groups."),
    (VOLUMES, [{"name": "v", "hostPath": {"path": "/"}}], "would show the node's files to a run"),
    (VOLUMES, [{"name": "v", "emptyDir": {}}], "may come from a ConfigMap, a Secret or a PersistentVolumeClaim."),
    (CONTAINERS, mount("/data", mountPropagation="Bidirectional"), "would give the run rights on its node"),
    (
        ANNOTATIONS,
        {"container.apparmor.security.beta.kubernetes.io/runner": "unconfined"},
        "would loosen what confines the run's process. Remove it.",
    ),
    # What another field of the study does.
    (f"{ENGINE}.spec.nodeSelector", {}, "Set spec.nodePools[].nodeSelector or tolerations instead."),
    (f"{ENGINE}.spec.affinity", {}, "than on the nodes that InfPop counts. Use nodeSelector and tolerations."),
    (f"{ENGINE}.spec.priorityClassName", "x", "Set spec.scheduling.priorityClassName instead."),
    (f"{ENGINE}.spec.imagePullSecrets", [], "Set spec.engine.imagePullSecrets instead."),
    # What is written in the wrong place, or misspelt.
    (f"{ENGINE}.env", [], "is a field of the container. Write it as spec: {containers: [{name: runner, env: ...}]}."),
    (f"{ENGINE}.spec.volumeMounts", [], "Write it as spec: {containers: [{name: runner, volumeMounts: ...}]}."),
    (f"{ENGINE}.annotations", {}, "is a field of the metadata. Write it as metadata: {annotations: ...}."),
    (f"{ENGINE}.runtimeClassName", "x", "is a field of the spec. Write it as spec: {runtimeClassName: ...}."),
    (f"{ENGINE}.hostNetwork", True, "would give the run rights on its node"),
    (f"{ENGINE}.spec.runtimeclass", "x", "unknown field. Did you mean runtimeClassName?"),
    (VOLUMES, [{"name": "v", "configmap": {"name": "x"}}], "unknown field. Did you mean configMap?"),
    (CONTAINERS, runner(banana=1), "unknown field. Known here: name, imagePullPolicy, env, volumeMounts"),
    # Values.
    (CONTAINERS, variable("NCCL_DEBUG", value=1), '1: must be text. Put it in quotes: "1".'),
    (CONTAINERS, variable("a-b"), "is not the name of a variable. Use letters, digits and underscores"),
    (CONTAINERS, variable("A", value="a\nb"), "has a line break or another control character. Write it on one line."),
    (CONTAINERS, variable("A", valueFrom={}), "Give exactly one of secretKeyRef, configMapKeyRef, fieldRef."),
    (CONTAINERS, runner(env=[{"name": "A"}]), 'one of value and valueFrom. Give one of the two; value: ""'),
    (CONTAINERS, runner(env=[{"name": "A", "value": "1"}] * 2), "env[1].name: A: is that of env[0] too."),
    (
        CONTAINERS,
        variable("A", valueFrom={"fieldRef": {"fieldPath": "spec.containers"}}),
        "is not a field of a Pod that a variable can have. Use for example status.podIP.",
    ),
    (
        CONTAINERS,
        variable("A", valueFrom={"secretKeyRef": {"name": "s", "key": "k", "optional": True}}),
        "would start a run without what it needs. Remove it; a run waits for the object.",
    ),
    (VOLUMES, [{"name": "v"}], "v: needs exactly one kind of volume. Give exactly one of configMap, secret, pers"),
    (VOLUMES, [SECRET, SECRET], "volumes[1].name: v: is that of volumes[0] too. Remove one of the two."),
    (CONTAINERS, mount("/data"), "names a volume that the Pods of the pool a100 do not have. Add it to"),
]  # fmt: skip


def told(changes: dict[str, object]) -> str:
    """Return the whole message for a wrong study."""
    with pytest.raises(StudyError) as caught:
        parse_object(changed(changes))
    return str(caught.value)


@pytest.mark.parametrize(("path", "value", "expected"), TABLE)
def test_what_a_pod_cannot_have_is_refused_with_reason_and_remedy(path: str, value: object, expected: str) -> None:
    """The template of the engine and that of a pool are refused alike, under their own names."""
    assert expected in told({path: value})
    message = told({path.replace(ENGINE, POOL): value})
    assert expected.replace(ENGINE, "spec.nodePools[0].podTemplate") in message
    assert "spec.nodePools[0].podTemplate." in message


@pytest.mark.parametrize("path", KEY_PATHS[0])
def test_a_key_may_be_at_every_path_that_kubernetes_accepts(path: str) -> None:
    """Dots are refused only where they lead out of the volume, or to what the kubelet keeps there itself."""
    assert parse_object(changed({VOLUMES: [keys_at(path)]}))


def test_a_secret_value_is_not_repeated() -> None:
    """A variable may hold a password: a message about it names the variable only."""
    assert "hunter2" not in told({CONTAINERS: variable("HF_TOKEN", value="hunter2")})


def test_a_mount_of_the_engine_may_name_a_volume_of_each_pool() -> None:
    """What counts is the merged template of each pool; the mount is reported once where a pool lacks the volume."""
    pools: list[dict[str, object]] = [{"name": name, "podTemplate": {"spec": {"volumes": [SECRET]}}} for name in "ab"]
    assert parse_object(changed({CONTAINERS: mount("/data"), "spec.nodePools": pools}))
    message = told({CONTAINERS: mount("/data"), "spec.nodePools": [*pools, {"name": "c"}, {"name": "d"}]})
    assert message.count("volumeMounts[0].name") == 1
    assert "the pool c do" in message


def test_a_pool_that_mounts_something_else_there_needs_no_volume_of_the_engine() -> None:
    """A mount that the pool replaces is not in its Pods."""
    own = {"name": "mine", "configMap": {"name": "c"}}
    spec = {"volumes": [own], "containers": runner(volumeMounts=[{"name": "mine", "mountPath": "/data"}])}
    pools = [{"name": "a", "podTemplate": {"spec": spec}}]
    assert parse_object(changed({CONTAINERS: mount("/data"), "spec.nodePools": pools}))
