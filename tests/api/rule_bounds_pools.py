"""The bounds of the rules of pools."""

from collections.abc import Iterator

from api.bound import TINY, Bound, table

POOLS = "spec.nodePools"
POOL = "spec.nodePools.0"


def _from_zero(gpus: int) -> dict[str, object]:
    return {"name": "a", "scaleFromZero": {"gpusPerNode": gpus}}


def _pools() -> Iterator[Bound]:
    one, two = {"name": "a"}, {"name": "b"}
    cpu = {"name": "a", "gpuResource": "cpu"}
    yield from table("unique-pool-names", POOLS, good=([one], [one, two]), bad=([one, one], [one, two, one]))
    yield from table("price", f"{POOL}.pricePerGPUHour", good=(TINY, "1"), bad=("0", "0.0"))
    yield from table(
        "simple-gpu-product",
        f"{POOL}.gpuProduct",
        good=("A100", ".*.+.?", "a*b+c?d{2}", "(A100|H100)", "[)]a+"),
        bad=("a*b+c?d{2}e*", "(a)*", "(a)+", "(a)?", "(a){2}"),
    )
    yield from table(
        "cpus-beside-gpus",
        POOLS,
        good=([cpu], [{**cpu, "resources": {"memory": "1Gi"}}], [{**one, "resources": {"cpu": 1}}]),
        bad=([{**cpu, "resources": {"cpu": 1}}], [two, {**cpu, "resources": {"cpu": "1m"}}]),
    )
    yield from table(
        "scale-from-zero-is-for-gpus",
        POOLS,
        good=([_from_zero(1)], [{**cpu, "name": "b"}, _from_zero(1)]),
        bad=([{**_from_zero(1), **cpu}], [two, {**_from_zero(1), **cpu}]),
    )
    yield from table(
        "nodes-fit-a-run",
        POOLS,
        good=([_from_zero(2)], [_from_zero(1), two], [_from_zero(1), {**_from_zero(8), "name": "b"}]),
        bad=([_from_zero(1)], [_from_zero(1), {**_from_zero(1), "name": "b"}]),
        more={"spec.searchSpace.gpuCount": [4, 2]},
    )
    yield from table(
        "cpus-above-zero", f"{POOL}.resources.cpu", good=(1, "1", "0.001", "1m", "10"), bad=("0", "0.000", "0m")
    )
    yield from table(
        "memory-of-a-run",
        f"{POOL}.resources.memory",
        good=("256Mi", "268435456", "0.25Gi", "64Ti", "65536Gi", "70368744177664"),
        bad=("255.999Mi", "268435455", "0", "64.001Ti", "70368744177665", "65537Gi"),
    )


def _tolerations() -> Iterator[Bound]:
    path = f"{POOL}.tolerations"
    exists, equal = {"operator": "Exists"}, {"operator": "Equal"}
    yield from table(
        "equal-needs-key",
        path,
        good=([exists], [{**exists, "key": "k"}], [{**equal, "key": "k"}], [{"key": "k"}]),
        bad=([equal], [{}], [exists, {"value": "v"}]),
    )
    yield from table(
        "exists-has-no-value",
        path,
        good=([exists], [{**exists, "value": ""}], [{"key": "k", "value": "v"}]),
        bad=([{**exists, "value": "v"}], [{**exists, "key": "k", "value": "v"}]),
    )
    brief = {"key": "k", "tolerationSeconds": 0}
    yield from table(
        "seconds-need-no-execute",
        path,
        good=([{**brief, "effect": "NoExecute"}], [{"key": "k", "effect": "NoSchedule"}]),
        bad=([brief], [{**brief, "effect": "NoSchedule"}], [{**brief, "effect": "PreferNoSchedule"}]),
    )


TABLES = (_pools, _tolerations)
