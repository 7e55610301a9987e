"""The fields of Kubernetes' PodTemplateSpec that a study cannot set: why, and what to do instead.

pydantic calls each of them unknown. Most have a field of the study that does the same and that InfPop can plan with;
the others would give a run more rights than it needs, or change what it measures behind its identity.
"""

from collections.abc import Mapping, Sequence

from infpop_operator.api.spec_pod_template import PodSpec

Words = tuple[str, str]  # message and remedy
FIELD = "podTemplate"

_REMOVE = "Remove it"
_NAMED: Words = ("is set by InfPop, which names its Pods after their run", _REMOVE)
_RIGHTS: Words = ("would give the run rights on its node, which Pod Security refuses", _REMOVE)
_PLACED: Words = ("would place runs elsewhere than on the nodes that InfPop counts", "Use nodeSelector and tolerations")
_PLACEMENT: Words = ("is a field of the pool", "Set spec.nodePools[].nodeSelector or tolerations instead")
_ONE_PROCESS: Words = (
    "would run beside the measurement, or keep the Job alive after its result",
    "Build it into the image of the runner",
)
_PRIORITY: Words = ("is a field of the study", "Set spec.scheduling.priorityClassName instead")
_PULL: Words = ("is a field of the engine", "Set spec.engine.imagePullSecrets instead")
_IMAGE: Words = ("is a field of the engine and of the pool", "Set spec.engine.image or spec.nodePools[].image instead")
_RESOURCES: Words = ("is a field of the pool", "Set spec.nodePools[].resources instead; searchSpace.gpuCount has GPUs")
_COMMAND: Words = ("is the runner's, which alone knows how to measure", "Set engine arguments in spec.engine.args")
_TIMES: Words = ("is set by InfPop, from the limits of the study", "Set spec.measurement.timeouts instead")
_NEVER: Words = ("is always Never: a restarted runner would measure what is left of its predecessor", _REMOVE)
_RESULT: Words = ("is set by InfPop, which reads the result there", _REMOVE)
_CONFINED: Words = ("is set by InfPop as Pod Security restricted wants it", _REMOVE)
_VOLUME: Words = (
    "is no volume that a run can have: it may come from a ConfigMap, a Secret or a PersistentVolumeClaim",
    "Use one of these; /tmp and /cache can be written to",
)
_HOST_PATH: Words = ("would show the node's files to a run, which Pod Security refuses", "Use a PersistentVolumeClaim")
_PROBES: Words = ("could restart or stop a run that measures", _REMOVE)
_REQUIRED: Words = ("would start a run without what it needs", "Remove it; a run waits for the object")

_POD: Mapping[str, Words] = {
    **dict.fromkeys(("hostNetwork", "hostPID", "shareProcessNamespace"), _RIGHTS),
    **dict.fromkeys(("affinity", "nodeName", "schedulerName", "schedulingGates", "topologySpreadConstraints"), _PLACED),
    **dict.fromkeys(("nodeSelector", "tolerations"), _PLACEMENT),
    **dict.fromkeys(("initContainers", "ephemeralContainers"), _ONE_PROCESS),
    **dict.fromkeys(("priority", "priorityClassName", "preemptionPolicy"), _PRIORITY),
    **dict.fromkeys(("overhead", "resourceClaims", "resources"), _RESOURCES),
    **dict.fromkeys(("activeDeadlineSeconds", "terminationGracePeriodSeconds"), _TIMES),
    "enableServiceLinks": ("is set by InfPop, so that no Service becomes a variable of the runner", _REMOVE),
    "imagePullSecrets": _PULL,
    "restartPolicy": _NEVER,
    "serviceAccount": ("is the old name of a field", "Write serviceAccountName"),
}
_CONTAINER: Mapping[str, Words] = {
    **dict.fromkeys(("command", "args", "workingDir", "stdin", "tty", "lifecycle"), _COMMAND),
    **dict.fromkeys(("resources", "resizePolicy"), _RESOURCES),
    **dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe"), _PROBES),
    **dict.fromkeys(("terminationMessagePath", "terminationMessagePolicy"), _RESULT),
    "image": _IMAGE,
    "restartPolicy": _NEVER,
    "ports": ("is set by InfPop, which reads metrics there", _REMOVE),
    "envFrom": ("would set variables that nothing has checked", "List them in env, with valueFrom"),
    "securityContext": (
        "is set by InfPop as Pod Security restricted wants it",
        "Remove it; podTemplate.spec.securityContext has the user and its groups",
    ),
}
_VOLUMES: Mapping[str, Words] = {
    "hostPath": _HOST_PATH,
    **dict.fromkeys(("emptyDir", "projected", "csi", "ephemeral", "nfs", "downwardAPI", "image"), _VOLUME),
}
_TABLES: Mapping[str, Mapping[str, Words]] = {  # by the path below the template, without indexes
    "metadata": dict.fromkeys(("name", "namespace", "generateName", "ownerReferences", "finalizers"), _NAMED),
    "spec": _POD,
    "spec.securityContext": dict.fromkeys(
        (
            "allowPrivilegeEscalation", "appArmorProfile", "capabilities", "fsGroupChangePolicy", "privileged",
            "procMount", "readOnlyRootFilesystem", "runAsNonRoot", "seLinuxOptions", "seccompProfile",
            "supplementalGroups", "supplementalGroupsPolicy", "sysctls",
        ),
        _CONFINED,
    ),
    "spec.containers": _CONTAINER,
    "spec.containers.env.valueFrom": {
        "resourceFieldRef": ("is not supported", "Give the number as value"),
    },
    "spec.containers.env.valueFrom.secretKeyRef": {"optional": _REQUIRED},
    "spec.containers.env.valueFrom.configMapKeyRef": {"optional": _REQUIRED},
    "spec.containers.volumeMounts": {
        "mountPropagation": _RIGHTS,
        "subPathExpr": ("is not supported", "Use subPath"),
    },
    "spec.volumes": _VOLUMES,
    "spec.volumes.configMap": {"optional": _REQUIRED},
    "spec.volumes.secret": {"optional": _REQUIRED},
}  # fmt: skip
_OF_CONTAINER = frozenset({"env", "imagePullPolicy", "volumeMounts"})


def words_for_unknown(location: Sequence[int | str]) -> Words | None:
    """Return message and remedy for an unknown field of a Pod template, None if nothing is known about it."""
    path = _below(location)
    if path is None:
        return None
    *parents, name = path
    table = {field.lower(): words for field, words in _TABLES.get(".".join(parents), {}).items()}
    return table.get(name.lower()) or _displaced(parents, name)


def words_for_value(location: Sequence[int | str], kind: str) -> Words | None:
    """Return message and remedy for a value of a Pod template that has its own reason, None for others."""
    path = _below(location)
    if path == ["spec", "securityContext", "runAsUser"] and kind == "greater_than_equal":
        return ("is root, which no run may be", "Use 1 or more")
    if path == ["spec", "containers"] and kind == "too_long":
        return _ONE_PROCESS
    return None


def _below(location: Sequence[int | str]) -> list[str] | None:
    """Return the path below the Pod template that contains the location, without indexes; None outside of one."""
    names = [part for part in location if isinstance(part, str)]
    return names[names.index(FIELD) + 1 :] or None if FIELD in names else None


def _displaced(parents: Sequence[str], name: str) -> Words | None:
    """Return where a known field belongs that is written too high or too low in the template."""
    path = list(parents)
    if path in ([], ["spec"]) and name in _OF_CONTAINER:
        return ("is a field of the container", f"Write it as spec: {{containers: [{{name: runner, {name}: ...}}]}}")
    if path == [] and name in {"labels", "annotations"}:
        return ("is a field of the metadata", f"Write it as metadata: {{{name}: ...}}")
    if path == []:
        return _POD.get(name) or _CONTAINER.get(name) or _of_spec(name)
    return None


def _of_spec(name: str) -> Words | None:
    fields = {field.alias for field in PodSpec.model_fields.values()}
    return ("is a field of the spec", f"Write it as spec: {{{name}: ...}}") if name in fields else None
