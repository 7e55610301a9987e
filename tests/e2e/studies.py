"""Studies over both nodes, and what their status has to say in the end."""

from collections.abc import Mapping, Sequence

from cluster.place import Body, Place
from cluster.studies import apply_documents, find_condition
from controlplane.waiting import wait_for
from nodes.real_nodes import A100, V100

FORMULA = {"peakThroughput": "1000", "bestGpuCount": 2, "bestBatchSize": 64, "largestBatchPerGPU": 64}


def simulation(**fields: object) -> Body:
    """Return an engine that replays a landscape without noise."""
    return {"name": "simulated", "simulation": {"formula": FORMULA, "repeatTime": "300ms", **fields}}


# What a cluster may want of every Pod. `runc` is a handler that every containerd has.
TEMPLATE: Mapping[str, object] = {
    "runtimeClassName": "plain",
    "securityContext": {"runAsUser": 1000650000, "runAsGroup": 0, "fsGroup": 1000650000},
    "containers": [
        {
            "name": "runner",
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "volumeMounts": [{"name": "certs", "mountPath": "/certs", "readOnly": True}],
        }
    ],
    "volumes": [{"name": "certs", "configMap": {"name": "company-ca"}}],
}
SEEN = "1000650000 http://proxy:3128 a certificate"  # by a run with this template, of its user, proxy and file
MODEL = "/models/tiny-llama"  # in the runner's image
# Runs ask for CPUs: the nodes' GPUs are numbers alone, and the runner measures on a GPU only if there is a driver.
POOLS = tuple(
    {"name": name, "gpuResource": "cpu", "nodeSelector": {"nvidia.com/gpu.product": product}}
    for name, product in (("a100-host", A100), ("v100-host", V100))
)
NODES = {"a100-host": "n1", "v100-host": "n2"}
SIMULATED: Mapping[str, object] = {
    "engine": simulation(),
    "searchSpace": {"gpuCount": [1, 2], "batchSize": [32, 64]},
    "algorithm": {"name": "grid", "trialsPerRun": 1},
    "budget": {"maxTrials": 4, "parallelTrials": 2, "maxFailedTrials": 0, "confirm": False},
    "measurement": {"minDuration": "1s", "mode": "Full"},
    "nodePools": list(POOLS),
}
# One run on one node, which goes on until something happens to it.
ENDLESS: Mapping[str, object] = {
    **SIMULATED,
    "engine": simulation(loadTime="30m"),
    "searchSpace": {"gpuCount": [1], "batchSize": [32]},
    "budget": {"maxTrials": 1, "maxFailedTrials": 0, "confirm": False},
    "nodePools": [POOLS[0]],
}
QUICK: Mapping[str, object] = {**ENDLESS, "engine": simulation()}
# Not a bit of it is about speed: a machine that does other things too makes repeats differ by any factor.
REAL: Mapping[str, object] = {
    "model": {"name": MODEL, "dtype": "bfloat16"},
    "workload": {"source": {"builtin": "code-infilling-v1"}, "samples": 32, "maxNewTokens": 8},
    "algorithm": {"name": "grid", "trialsPerRun": 2},
    "budget": {"maxTrials": 2, "maxFailedTrials": 0, "confirm": False},
    "measurement": {
        "minDuration": "1s",
        "mode": "Full",
        "maxSpread": "10",
        "timeouts": {"load": "10m", "measure": "10m"},
    },
    "nodePools": list(POOLS),
}


def create_what_the_template_names(place: Place) -> None:
    """Create the RuntimeClass and the ConfigMap of `TEMPLATE`."""
    company_ca = {"name": "company-ca", "namespace": place.namespace}
    apply_documents(
        place.cluster,
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "plain"}, "handler": "runc"},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": company_ca, "data": {"ca.crt": "a certificate"}},
    )


def look_into_a_run(place: Place) -> str | None:
    """Return what a running runner sees of its user, proxy and file; None if none runs, or it ended meanwhile."""
    look = ("sh", "-c", 'echo "$(id -u) $HTTPS_PROXY $(cat /certs/ca.crt)"')
    for pod in place.running_pods():
        try:
            name, namespace = pod["metadata"]["name"], f"--namespace={place.namespace}"
            return place.cluster.kubectl("exec", name, namespace, "--", *look).strip()
        except AssertionError:
            continue
    return None


def wait_for_end(place: Place, *, seconds: float, name: str = "study") -> Body:
    """Return the status once the study has succeeded; fail as soon as it cannot any more."""

    def ended() -> Body | None:
        status = place.status(name)
        states = {kind: find_condition(status, kind).get("status") for kind in ("Succeeded", "Stalled")}
        assert states["Stalled"] != "True", status
        return status if states["Succeeded"] == "True" else None

    return wait_for(ended, seconds=seconds, what=f"the end of {name}")


def rows_of(status: Body, pool: str) -> Sequence[Body]:
    """Return the rows of a pool's trials."""
    return [row for row in status["trials"] if row["pool"] == pool]


def numbers(status: Body) -> dict[tuple[str, int, int], str]:
    """Return pool, GPU count and batch size of each trial -> its throughput."""
    return {(row["pool"], row["gpuCount"], row["batchSize"]): row["throughput"] for row in status["trials"]}


def best(status: Body) -> tuple[int, int]:
    """Return GPU count and batch size of the best."""
    return status["best"]["gpuCount"], status["best"]["batchSize"]
