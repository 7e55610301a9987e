"""From `kubectl apply` to the best configuration, on an A100 and a V100 pool of 8-GPU nodes in one study.

Every budget here has room for every cell, so that the best is certain to be found and a wrong one is a defect. That a
search finds it with a part of the cells is a matter of `core.search`, and shown by its own tests and benchmarks.
INFPOP_LANDSCAPES may name a CSV of recorded landscapes; INFPOP_LANDSCAPE chooses one of it, as `engine/model`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cluster.landscapes import Landscapes, axes, feasible, make_up, optimum, read_recorded
from cluster.operator_process import running_operator
from cluster.place import Body, Place
from cluster.studies import find_condition
from controlplane.behaviours import Behaviour, Succeeds
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_runner.contract import RunSpec

pytestmark = pytest.mark.cluster
SEEDS = range(20)
ENVIRONMENT = os.environ  # noqa: TID251 - how somebody hands a file to the tests
RECORDED = ENVIRONMENT.get("INFPOP_LANDSCAPES")
DEADLINE_S = 550.0  # far longer than all studies take; pyproject.toml ends a test after 600 s
NODES_PER_POOL = 40  # so that every study can have the 16 GPUs that it may have


@pytest.fixture
def pools(installed: ControlPlane, namespace: str) -> Iterator[Place]:
    """A namespace with enough nodes of both kinds for all studies at once."""
    place = Place(installed, namespace)
    products = ("NVIDIA-A100-SXM4-40GB", "Tesla-V100-SXM2-32GB")
    with place.nodes(*(product for product in products for _ in range(NODES_PER_POOL))):
        yield place
    place.close()


def test_the_best_of_landscapes_from_20_seeds(pools: Place, tmp_path: Path) -> None:
    """Each of 20 studies at once measures its own landscapes as they are and names their best, on two pools."""
    tune(pools, tmp_path, {seed: make_up(seed) for seed in SEEDS})


@pytest.mark.skipif(RECORDED is None, reason="INFPOP_LANDSCAPES names no CSV of recorded landscapes")
def test_the_best_of_recorded_landscapes_for_20_seeds(pools: Place, tmp_path: Path) -> None:
    """The same of one model's recorded landscapes, searched through in 20 orders."""
    engine, model = ENVIRONMENT.get("INFPOP_LANDSCAPE", "vllm/Codellama-7b-hf").split("/")
    recorded = read_recorded(Path(RECORDED or ""), model=model, engine=engine)
    tune(pools, tmp_path, dict.fromkeys(SEEDS, recorded))


def tune(place: Place, directory: Path, landscapes: Mapping[int, Landscapes]) -> None:
    """Tune a study for each seed, all at once, and compare what they say with what is known."""
    known = {f"seed-{seed}": each for seed, each in landscapes.items()}

    def play(spec: RunSpec, _attempt: int) -> Behaviour:
        cells = known[spec.study][spec.pool]
        return Succeeds(throughput=lambda gpus, batch: cells[gpus, batch])

    with place.kubelet(play), running_operator(place.cluster, directory, namespace=place.namespace) as operator:
        for seed, each in landscapes.items():
            apply_study(place, seed, each)
        statuses = {name: await_success(place, name) for name in known}
    assert [line for line in operator.text().splitlines() if "409 Conflict" in line] == []  # it wrote alone
    assert {name: best_of(status) for name, status in statuses.items()} == {
        name: optimum(each) for name, each in known.items()
    }
    for name, status in statuses.items():
        assert measured(status) == pytest.approx(feasible(known[name]), rel=1e-5)


def await_success(place: Place, name: str) -> Body:
    """Return the status of a study that has succeeded."""

    def succeeded() -> Body | None:
        status = place.status(name)
        return status if find_condition(status, "Succeeded").get("status") == "True" else None

    return wait_for(succeeded, seconds=DEADLINE_S, what=f"the success of {name}")


def apply_study(place: Place, seed: int, landscapes: Landscapes) -> None:
    """Create the study of a seed, with room for every cell; runs measure one, two or three of them."""
    gpu_counts, batch_sizes = axes(landscapes)
    place.study(
        f"seed-{seed}",
        nodePools=[place.pool("a100"), place.pool("v100")],
        searchSpace={"gpuCount": gpu_counts, "batchSize": batch_sizes},
        algorithm={"seed": seed, "trialsPerRun": 1 + seed % 3},
        budget={
            "maxTrials": len(gpu_counts) * len(batch_sizes),
            "parallelTrials": 4,
            "maxConcurrentGPUs": 16,
        },
    )


def best_of(status: Body) -> tuple[str, int, int]:
    """Return the cell that a study recommends."""
    best = status["best"]
    return (best["pool"], best["gpuCount"], best["batchSize"])


def measured(status: Body) -> dict[tuple[str, int, int], float]:
    """Return tokens/s of every cell that a study measured."""
    rows = [row for row in status["trials"] if row["state"] == "Measured"]
    return {(row["pool"], row["gpuCount"], row["batchSize"]): float(row["throughput"]) for row in rows}
