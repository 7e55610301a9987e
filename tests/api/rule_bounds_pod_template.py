"""The bounds of the rules of Pod templates."""

from collections.abc import Iterator

from api.bound import Bound, table
from api.rule_examples import POD_TEMPLATES
from infpop_operator.api.reserved_pod_names import VARIABLES, VOLUMES

LABELS = (
    "infpop.io/a", "app.kubernetes.io/managed-by", "app.kubernetes.io/name", "batch.kubernetes.io/job-name", "job-name",
    "controller-uid", "kueue.x-k8s.io/queue-name", "sidecar.istio.io/inject", "linkerd.io/inject",
)  # fmt: skip
ANNOTATIONS = (
    "infpop.io/a", "batch.kubernetes.io/a", "kueue.x-k8s.io/queue-name", "linkerd.io/inject", "prometheus.io/path",
    "cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt", "cdi.k8s.io/a",
    "nvidia.cdi.k8s.io/a", "devices.nri.io/container.runner", "mounts.nri.io", "io.kubernetes.cri-o.Devices",
    "container.apparmor.security.beta.kubernetes.io/runner",
    "container.seccomp.security.alpha.kubernetes.io/runner", "seccomp.security.alpha.kubernetes.io/pod",
)  # fmt: skip
HIDING = (
    "/cache", "/cache/a", "/tmp", "/tmp/a/b", "/workload", "/dev", "/dev/shm/a", "/proc", "/sys", "/run/secrets/a",
    "/var/run/secrets", "/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/local/lib", "/var", "/opt", "/a/./b", "/..",
    "/a/..",
)  # fmt: skip


def _keys() -> Iterator[Bound]:
    for owner, path in POD_TEMPLATES.items():
        for part, reserved, free in (
            ("labels", LABELS, ("app.kubernetes.io/part-of", "a.infpop.io/a", "infpop.io.a/b", "job-names")),
            (
                "annotations",
                ANNOTATIONS,
                ("kueue.x-k8s.io/podset-required-topology", "a-cdi.k8s.io/b", "anri.io/b", "a.b/c"),
            ),
        ):
            field = f"{path}.metadata.{part}"
            bad = tuple({"a": "x", key: "x"} for key in reserved)
            yield from table(f"{owner}-reserved-{part}", field, good=({}, *({key: "x"} for key in free)), bad=bad)
            yield from table(
                f"{owner}-pod-{part}",
                field,
                good=({"a": "x"}, {"a" * 63: "x"}, {"example.org/a": "x"}),
                bad=tuple({key: "x"} for key in ("", "-a", "a/b/c", "a..b/c", "/a", "b" * 64, f"{'a' * 254}/b")),
            )


def _variables() -> Iterator[Bound]:
    for owner, path in POD_TEMPLATES.items():

        def named(*variables: object, path: str = path) -> dict[str, object]:
            return {f"{path}.spec.containers": [{"name": "runner", "env": list(variables)}]}

        def bounds(rule: str, documents: tuple[dict[str, object], ...], *, holds: bool) -> Iterator[Bound]:
            return (Bound(rule=rule, changes=each, holds=holds) for each in documents)

        reserved = (*VARIABLES, "INFPOP_", "INFPOP_RUN_SPEC")
        free = ("NCCL_DEBUG", "HTTPS_PROXY", "HF_ENDPOINT", "INFPOP", "XINFPOP_A", "HF_HUB_DISABLE_TELEMETRY", "Path")
        rule = f"{owner}-reserved-variables"
        yield from bounds(rule, tuple(named({"name": name, "value": "x"}) for name in free), holds=True)
        yield from bounds(rule, tuple(named({"name": name, "value": "x"}) for name in reserved), holds=False)
        key = {"secretKeyRef": {"name": "s", "key": "k"}}
        other = {"configMapKeyRef": {"name": "s", "key": "k"}}
        ip = {"fieldRef": {"fieldPath": "status.podIP"}}
        a = {"name": "A"}
        rule = f"{owner}-one-value"
        yield from bounds(rule, (named(a | {"value": ""}), named(a | {"valueFrom": key})), holds=True)
        yield from bounds(rule, (named(a), named(a | {"value": "", "valueFrom": key})), holds=False)
        rule = f"{owner}-one-value-source"
        yield from bounds(rule, tuple(named(a | {"valueFrom": each}) for each in (key, other, ip)), holds=True)
        bad = ({}, key | other, key | ip, key | other | ip)
        yield from bounds(rule, tuple(named(a | {"valueFrom": each}) for each in bad), holds=False)


def _volumes() -> Iterator[Bound]:
    secret, config = {"secret": {"secretName": "s"}}, {"configMap": {"name": "c"}}
    claim = {"persistentVolumeClaim": {"claimName": "p"}}
    for owner, path in POD_TEMPLATES.items():
        volumes, containers = f"{path}.spec.volumes", f"{path}.spec.containers"
        yield from table(
            f"{owner}-reserved-volumes",
            volumes,
            good=([], [{"name": "tmp2", **secret}]),
            bad=tuple([{"name": name, **secret}] for name in VOLUMES),
        )
        yield from table(
            f"{owner}-one-kind-of-volume",
            volumes,
            good=tuple([{"name": "v", **kind}] for kind in (secret, config, claim)),
            bad=tuple([{"name": "v", **kind}] for kind in ({}, secret | config, secret | config | claim)),
        )
        for rule, field, good, bad in (
            ("reserved-paths", "mountPath", ("/data", "/caches", "/etc/a", "/usr/share/a", "/opt/a", "/..a/b"), HIDING),
            ("paths-in-volumes", "subPath", ("a", "a/b", "..a", "a..", ".../b"), ("..", "a/..", "../a", "a/../b")),
        ):
            mount = {"name": "v", "mountPath": "/data"}
            yield from table(
                f"{owner}-{rule}",
                containers,
                good=tuple([{"name": "runner", "volumeMounts": [mount | {field: each}]}] for each in good),
                bad=tuple([{"name": "runner", "volumeMounts": [mount | {field: each}]}] for each in bad),
                more={volumes: [{"name": "v", **secret}]},
            )


TABLES = (_keys, _variables, _volumes)
