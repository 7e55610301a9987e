"""The rules of Pod templates that the API server can check, in CEL: for that of the engine and that of a pool.

The API server refuses two entries of one key by itself, because the lists are maps. Whether a mount names a volume
depends on both templates; Python checks it.
"""

from collections.abc import Iterator

from infpop_operator.api.cel_rule import LABEL_KEYS, Rule, listed
from infpop_operator.api.reserved_pod_names import (
    ANNOTATIONS,
    LABELS,
    MOUNT_PATHS,
    OWN_VARIABLES,
    VARIABLES,
    VOLUMES,
    any_pattern,
)

_CONTAINER = "spec.containers[]"


def _keys(owner: str, path: str) -> Iterator[Rule]:
    for part, table in (("labels", LABELS), ("annotations", ANNOTATIONS)):
        yield Rule(
            name=f"{owner}-pod-{part}",
            path=f"{path}.metadata.{part}",
            rule=LABEL_KEYS,
            message="has a key that no object can have. Use for example example.com/team",
        )
        yield Rule(
            name=f"{owner}-reserved-{part}",
            path=f"{path}.metadata.{part}",
            rule=f"self.all(key, !key.matches('{any_pattern(table)}'))",
            message="has a key that InfPop, Kubernetes or a sidecar depends on. Remove it; docs/study.md has the list",
        )


def _variables(owner: str, path: str) -> Iterator[Rule]:
    yield Rule(
        name=f"{owner}-reserved-variables",
        path=f"{path}.{_CONTAINER}.env[].name",
        rule=f"!self.startsWith('{OWN_VARIABLES}') && !(self in {listed(VARIABLES)})",
        message="is set by InfPop or by the engine. Remove it; docs/study.md has the field of the study for it",
    )
    yield Rule(
        name=f"{owner}-one-value",
        path=f"{path}.{_CONTAINER}.env[]",
        rule="has(self.value) != has(self.valueFrom)",
        message="needs exactly one of value and valueFrom. Give one of the two",
    )
    yield Rule(
        name=f"{owner}-one-value-source",
        path=f"{path}.{_CONTAINER}.env[].valueFrom",
        rule="[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].filter(given, given).size() == 1",
        message="needs exactly one source. Give exactly one of secretKeyRef, configMapKeyRef, fieldRef",
    )


def _volumes(owner: str, path: str) -> Iterator[Rule]:
    yield Rule(
        name=f"{owner}-reserved-volumes",
        path=f"{path}.spec.volumes[].name",
        rule=f"!(self in {listed(VOLUMES)})",
        message="is the name of a volume of InfPop. Use another name",
    )
    yield Rule(
        name=f"{owner}-one-kind-of-volume",
        path=f"{path}.spec.volumes[]",
        rule="[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim)]"
        ".filter(given, given).size() == 1",
        message="needs exactly one kind of volume. Give exactly one of configMap, secret, persistentVolumeClaim",
    )
    yield Rule(
        name=f"{owner}-reserved-paths",
        path=f"{path}.{_CONTAINER}.volumeMounts[].mountPath",
        rule=f"!self.matches('{any_pattern(MOUNT_PATHS)}')",
        message="would hide what InfPop, Kubernetes or the image has there. Use another path, for example /data",
    )
    yield Rule(
        name=f"{owner}-paths-in-volumes",
        path=f"{path}.{_CONTAINER}.volumeMounts[].subPath",
        rule="!self.matches('(^|/)[.][.](/|$)')",
        message="leaves the volume. Write a path inside the volume",
    )


def _rules() -> Iterator[Rule]:
    for owner, path in (("engine", "spec.engine.podTemplate"), ("pool", "spec.nodePools[].podTemplate")):
        yield from _keys(owner, path)
        yield from _variables(owner, path)
        yield from _volumes(owner, path)


POD_TEMPLATE_RULES = tuple(_rules())
