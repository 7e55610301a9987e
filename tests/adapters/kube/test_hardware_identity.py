"""What makes two Nodes the same hardware: the identity under which a study's measurements are compared."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kube.pool_matching import matched, query, refused
from factories.kube_objects import A100, make_node
from infpop_operator.adapters.kube.node_pools import MatchedPool, without_flapping
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.core.fingerprint import digest
from infpop_operator.core.model import Hardware

EXACT = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
DRIVER, OLD_DRIVER = "nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver.major"
KARPENTER = "karpenter.k8s.aws/instance-gpu-name"
PARTITION = "cloud.google.com/gke-gpu-partition-size"


def node(name: str = "n1", **labels: str) -> NodeRecord:
    """Return a Node with the labels of GPU feature discovery; `driver` is the major version of its driver."""
    driver = labels.pop("driver", None)
    return make_node(name, labels={**EXACT, **({DRIVER: driver} if driver else {}), **labels})


def hardware(pool: MatchedPool, driver_major: str | None = None, **changes: object) -> Hardware:
    """Return the hardware of a round that was opened on this pool."""
    known = Hardware(fingerprint=pool.fingerprint, gpu_model=pool.gpu_model, driver_major=driver_major)
    return replace(known, **changes)


def identity(known: Hardware | tuple[Hardware, ...], *nodes: NodeRecord) -> str:
    """Return the identity of the Nodes in a study that knows this hardware, the newest first."""
    rounds = known if isinstance(known, tuple) else (known,)
    pool = without_flapping(matched(query(), *nodes), rounds)
    assert isinstance(pool, MatchedPool)
    return pool.fingerprint


VOLATILE = st.fixed_dictionaries(
    {},
    optional={
        "nvidia.com/gfd.timestamp": st.integers(0, 2**31).map(str),
        "nvidia.com/gpu.machine": st.sampled_from(["DGX-A100", "p4d.24xlarge"]),
        "nvidia.com/cuda.driver-version.minor": st.sampled_from(["86", "124"]),
        "nvidia.com/cuda.runtime-version.major": st.sampled_from(["12", "13"]),
        "nvidia.com/gpu.clique": st.text("abc.1", max_size=9),
        "nvidia.com/mig.strategy": st.sampled_from(["single", "none"]),
        "kubernetes.io/hostname": st.text("abc", min_size=1, max_size=9),
        "topology.kubernetes.io/zone": st.sampled_from(["a", "b"]),
    },
)


@given(nodes=st.lists(st.tuples(VOLATILE, st.integers(1, 8), st.booleans()), min_size=1, max_size=6), data=st.data())
def test_only_the_hardware_counts(nodes: list[tuple[Mapping[str, str], int, bool]], data: st.DataObject) -> None:
    """Not the order, the number, the names, the number of GPUs or the health of the Nodes, nor labels that move."""
    records = [
        make_node(f"n{number}", labels={**EXACT, DRIVER: "570", **volatile}, gpus=gpus, schedulable=number == 0 or well)
        for number, (volatile, gpus, well) in enumerate(nodes)
    ]
    shuffled = data.draw(st.permutations(records))
    assert matched(query(), *shuffled).fingerprint == matched(query(), node(driver="570")).fingerprint


@given(sizes=st.lists(st.integers(81251, 81920), min_size=1, max_size=4), drivers=st.sets(st.sampled_from("579")))
def test_a_fleet_that_changes_node_by_node_keeps_its_identity(sizes: list[int], drivers: set[str]) -> None:
    """Whichever of its Nodes are there, with the memory that each driver reports, while one has the known driver."""
    fleet = [node(f"n{at}", **{"nvidia.com/gpu.memory": str(size)}, driver="570") for at, size in enumerate(sizes)]
    updated = [node(f"u{major}", **{"nvidia.com/gpu.memory": "81559"}, driver=f"{major}80") for major in drivers]
    known = hardware(matched(query(), fleet[0]), "570")
    assert identity(known, *updated, *fleet) == known.fingerprint
    assert identity(known, *fleet[1:], fleet[0]) == known.fingerprint


@pytest.mark.parametrize("label", [DRIVER, OLD_DRIVER])
def test_another_major_version_of_the_driver_is_other_hardware(label: str) -> None:
    """Whichever label of GPU feature discovery has it; a minor version is none."""
    pool = matched(query(), node(**{label: "570"}))
    known = hardware(pool, "570")
    assert pool.driver_majors == ("570",)
    assert identity(known, node(**{label: "580"})) == matched(query(), node(driver="580")).fingerprint
    assert identity(known, node(**{label: "580"})) != known.fingerprint
    assert identity(known, node(**{label: "570", "nvidia.com/cuda.driver-version.minor": "1"})) == known.fingerprint


def test_a_rolling_update_of_the_driver_is_one_change() -> None:
    """The identity changes when the last Node is updated, and a new study takes the newer driver at once."""
    old, new = node("n1", driver="570"), node("n2", driver="580")
    before = hardware(matched(query(), old), "570")
    after = hardware(matched(query(), new), "580")
    assert [identity(before, *nodes) for nodes in ((old,), (old, new), (new,))] == [
        before.fingerprint,
        before.fingerprint,
        after.fingerprint,
    ]
    assert identity((after, before), new, old) == after.fingerprint
    assert matched(query(), old, new).fingerprint == after.fingerprint


def test_a_label_that_is_gone_is_no_change() -> None:
    """Neither is one that came; a value that is no number is no label."""
    known = hardware(matched(query(), node(driver="570")), "570")
    assert identity(known, node()) == known.fingerprint
    before = hardware(matched(query(), node()))
    assert identity(before, node(driver="570")) == before.fingerprint
    assert matched(query(), node(driver="unknown")).driver_majors == ()


def test_hardware_that_comes_back_has_its_first_identity() -> None:
    """Also if its labels say more than then, or give its memory a little differently."""
    first = hardware(matched(query(), node(driver="570")), "570", gpu_memory_mib=40960)
    second = hardware(matched(query(), node(driver="580")), "580", gpu_memory_mib=40960)
    returned = node(driver="570", **{"nvidia.com/gpu.memory": "40536"})
    assert identity((second, first), returned) == first.fingerprint
    unlabelled = hardware(matched(query(), node()))
    assert identity((second, unlabelled), returned) == unlabelled.fingerprint
    assert identity((second, first), node(driver="535")) not in {first.fingerprint, second.fingerprint}


def test_an_older_round_does_not_explain_a_node_that_has_just_joined() -> None:
    """While a new Node has only its cloud's labels, a pool that was known exactly waits."""
    joined = make_node("new", label="cloud.google.com/gke-accelerator", product="nvidia-tesla-a100")
    vague, exact = hardware(matched(query(), joined)), hardware(matched(query(), node()))
    changing = without_flapping(matched(query(), joined), (exact, vague))
    assert not isinstance(changing, MatchedPool)
    assert changing.reason == "NodesChanging"
    assert identity((vague, exact), joined) == vague.fingerprint


def test_memory_in_bytes_is_the_same_identity() -> None:
    """A study that an earlier version began with the text of such a label goes on as well."""
    facts = {"device": "cuda", "product": A100, "memory": "42949672960", "compute": "8.0"}
    old = Hardware(fingerprint=digest(facts)[:16], gpu_model=A100)
    in_bytes = node(**{"nvidia.com/gpu.memory": "42949672960"})
    assert matched(query(), in_bytes).fingerprint == matched(query(), node()).fingerprint
    assert identity(old, in_bytes) == old.fingerprint


def test_a_cloud_name_with_two_sizes_of_memory_is_two_kinds() -> None:
    """Karpenter calls both A100s a100, and says how much memory each has; a study that knew only the name goes on."""
    small, large = (
        make_node(name, label=KARPENTER, product="a100", labels={"karpenter.k8s.aws/instance-gpu-memory": memory})
        for name, memory in (("n1", "40960"), ("n2", "81920"))
    )
    assert refused(query(), small, large).reason == "MixedGPUs"
    facts = {"device": "cuda", "product": "a100", "memory": "", "compute": ""}
    old = Hardware(fingerprint=digest(facts)[:16], gpu_model="a100")
    assert identity(old, small) == old.fingerprint
    assert identity(replace(old, gpu_memory_mib=40960), large) == matched(query(), large).fingerprint


def test_partitions_of_another_size_are_other_hardware() -> None:
    """NVIDIA has the profile in the product's name, GKE in a label of its own."""
    pools = [
        matched(
            query("a100", **{PARTITION: profile}),
            make_node(
                label="cloud.google.com/gke-accelerator", product="nvidia-tesla-a100", labels={PARTITION: profile}
            ),
        )
        for profile in ("1g.5gb", "2g.10gb")
    ]
    assert [pool.kind.mig for pool in pools if pool.kind is not None] == ["1g.5gb", "2g.10gb"]
    assert pools[0].fingerprint != pools[1].fingerprint
    known = hardware(pools[0], mig="1g.5gb")
    assert without_flapping(pools[1], [known]) == pools[1]
    facts = {"device": "cuda", "product": "nvidia-tesla-a100", "memory": "", "compute": ""}
    old = Hardware(fingerprint=digest(facts)[:16], gpu_model="nvidia-tesla-a100")
    kept = without_flapping(pools[0], [old])
    assert isinstance(kept, MatchedPool)
    assert kept.fingerprint == old.fingerprint
    named = matched(query("MIG"), make_node(product=f"{A100}-MIG-1g.5gb", labels=EXACT))
    assert named.kind is not None
    assert named.kind.mig == "1g.5gb"
