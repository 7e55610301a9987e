"""Read from the labels and resources of a Node which GPUs it has, and whether a run would have them to itself.

Pure. The hardware kind of a GPU is its product, its memory, its compute capability and its MIG profile. The memory
label differs by a few percent between driver versions, so nearly equal sizes are one kind. The fingerprint adds the
major version of the driver where a label gives it: kernels and their speed change with it. It contains nothing that
changes by itself or that differs between Nodes of one kind: no time stamps, names, numbers of Nodes or of GPUs.

A fingerprint is stored in a study's journal. So hardware of which more is known than before, by a label that an earlier
version of the operator did not read or that was not there, must keep the fingerprint that it has: `is_same_hardware`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.core.fingerprint import digest
from infpop_operator.core.model import Hardware

_DIVIDED_PRODUCT = re.compile(r"-(MIG)-|-(SHARED)\b", re.IGNORECASE)
_INVALID_MIG = re.compile(r"-MIG-INVALID\b", re.IGNORECASE)
# The same card with another driver or with ECC: A100 81251, 81559, 81920; T4 15109, 15360; L4 22494, 23034 MiB.
# Variants of a product (10 and 12 GB, 40 and 80 GB) differ by much more.
_SAME_MEMORY = 1.03
_MIG_PROFILE = re.compile(r"-MIG-(\d+[cg]\.\S+)$", re.IGNORECASE)
_MOST_MIB = 1 << 30  # a larger number is in bytes
_MEMORY = re.compile(r"(\d+)(?:\.\d+)? ?(Ki|KiB|KB|K|Mi|MiB|MB|M|Gi|GiB|GB|G|B)?", re.IGNORECASE)
_MIB_OF_UNIT = {"g": 1024.0, "k": 2.0**-10, "b": 2.0**-20}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GpuKind:
    """The hardware kind of a Node's GPUs; GPUs of one kind are comparable. A part is empty if no label gives it.

    `memory` is the text of its label. `partition` is the MIG profile of a label of its own (GKE); NVIDIA's labels have
    it in the product's name.
    """

    product: str
    memory: str
    compute: str
    partition: str = ""

    @property
    def is_exact(self) -> bool:
        """Return whether the labels of GPU feature discovery identify the GPUs, not just a cloud's name for them."""
        return bool(self.memory and self.compute)

    @property
    def memory_mib(self) -> int | None:
        """Return the memory of a device in MiB, None if no label gives it."""
        size = _mebibytes(self.memory)
        return None if size is None else int(size)

    @property
    def mig(self) -> str | None:
        """Return the MIG profile of a device, such as "1g.5gb"; None for whole GPUs."""
        found = _MIG_PROFILE.search(self.product)
        return found[1] if found is not None else self.partition or None

    def fingerprint(self, driver_major: str | None) -> str:
        """Return the identity of the hardware with this driver, None if no label gives its version."""
        memory = self.memory if self.memory_mib is None else str(self.memory_mib)
        return _fingerprint(self, memory, partition=self.partition, driver_major=driver_major)

    def __str__(self) -> str:
        """Return the kind as text for a message."""
        partition = f"partition {self.partition}" if self.partition else ""
        more = [_in_words(self.memory), f"compute {self.compute}" if self.compute else "", partition]
        known = ", ".join(part for part in more if part)
        return (self.product or "no product label") + (f" ({known})" if known else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """One sign that the GPUs of a Node are shared or partitioned.

    `keys` are the labels of which a study can select one to ask for such GPUs; they are empty if the product's name
    says it, and `mark` is the word of the name then.
    """

    keys: tuple[str, ...] = ()
    mark: str = ""
    sign: str


def product_label(node: NodeRecord) -> str | None:
    """Return the first label key that names the Node's GPU product, None if there is none."""
    return next((key for key in labels.GPU_PRODUCT_LABELS if node.labels.get(key)), None)


def product_of(node: NodeRecord) -> str:
    """Return the Node's GPU product; empty if no label names it."""
    key = product_label(node)
    return "" if key is None else node.labels[key]


def driver_major(node: NodeRecord) -> str | None:
    """Return the first number of the version of the Node's GPU driver, None if no label gives it."""
    values = (node.labels.get(key, "") for key in labels.GPU_DRIVER_MAJOR_LABELS)
    return next((value for value in values if value.isascii() and value.isdigit()), None)


def is_divided_product(product: str) -> bool:
    """Return whether a product's name says that a device is a part of a GPU."""
    return _DIVIDED_PRODUCT.search(product) is not None


def is_invalid_mig(node: NodeRecord) -> bool:
    """Return whether the Node's GPUs are in MIG mode, but are not partitioned as the device plugin requires."""
    return _INVALID_MIG.search(product_of(node)) is not None


def divisions(node: NodeRecord, resource: str) -> tuple[Division, ...]:
    """Return the signs that the Node's GPUs are shared or partitioned; empty if a device is a whole GPU."""
    found = _DIVIDED_PRODUCT.search(product_of(node))
    if found is not None:
        return (Division(mark=found[1] or found[2], sign=product_of(node)),)
    return tuple(_by_label(node)) or tuple(_by_number(node, node.capacity_gpus.get(resource, 0)))


def _by_label(node: NodeRecord) -> Iterator[Division]:
    for key in (*labels.GPU_SHARING_LABELS, *labels.GPU_PARTITION_LABELS):
        value = node.labels.get(key, "")
        if value.lower() not in labels.NOT_SHARED:
            yield Division(keys=(key,), sign=f"{key}={value}")


def _by_number(node: NodeRecord, devices: int) -> Iterator[Division]:
    """Yield the numbers in labels that show that the device plugin offers each GPU several times; they say the same."""
    signs: dict[str, str] = {}
    for key, value in sorted(node.labels.items()):
        name, number = key.rpartition("/")[2], _to_number(value)
        if name in labels.GPU_COUNT_NAMES and 0 < number < devices:
            signs[key] = f"{devices} devices on a node with {name}={value}"
        elif name in labels.GPU_CLIENTS_NAMES and number > 1:
            signs[key] = f"{key}={value}"
    if signs:
        yield Division(keys=tuple(signs), sign=", ".join(signs.values()))


def _to_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def kinds_of(nodes: Sequence[NodeRecord]) -> Counter[GpuKind]:
    """Return the kinds of GPUs of the Nodes, each with its number of Nodes; nearly equal memory is one kind.

    Such a kind has the memory of the smallest, written in MiB if any label is.
    """
    found: Counter[GpuKind] = Counter()
    for kind, count in sorted(Counter(map(_kind, nodes)).items(), key=lambda item: _order(item[0])):
        same = next((known for known in found if _is_same_kind(known, kind)), kind)
        found[same] += count
    return found


def is_cloud_name(known: Hardware) -> bool:
    """Return whether the fingerprint is of hardware of which only the labels of a cloud were known."""
    memory = "" if known.gpu_memory_mib is None else str(known.gpu_memory_mib)
    kind = GpuKind(product=known.gpu_model or "", memory=memory, compute="", partition=known.mig or "")
    return known.fingerprint in _fingerprints(kind, known.driver_major)


def is_same_hardware(kind: GpuKind, driver_majors: Sequence[str], known: Hardware) -> bool:
    """Return whether `known` is hardware of this kind, of which as much or less was known.

    A driver update changes the memory label of the same card by a few percent. A fact that was not known before, or
    that is not known now, is no difference.

    Args:
        kind: of the Nodes.
        driver_majors: the major versions of their drivers. While a driver is updated on one Node after the other there
            are two; the known one is theirs until no Node has it.
        known: the hardware of a round.
    """
    has_same_driver = known.driver_major is None or not driver_majors or known.driver_major in driver_majors
    if not has_same_driver or known.mig not in {None, kind.mig}:
        return False
    sizes = (known.gpu_memory_mib, kind.memory_mib)
    if sizes[0] is not None and sizes[1] is not None and not _is_same_memory(sizes[0], sizes[1]):
        return False
    return known.fingerprint in _fingerprints(kind, known.driver_major)


@lru_cache(maxsize=64)  # the hashes of one kind take some 30 ms
def _fingerprints(kind: GpuKind, driver_major: str | None) -> frozenset[str]:
    """Return the fingerprints that hardware of this kind may have got, with all labels or with fewer."""
    size, memories = _mebibytes(kind.memory), {kind.memory}
    if size is not None:
        memories.update(map(str, range(int(size / _SAME_MEMORY), int(size * _SAME_MEMORY) + 1)))
    if not kind.is_exact:
        memories.add("")
    return frozenset(
        _fingerprint(kind, memory, partition=partition, driver_major=driver)
        for memory in memories
        for partition in {kind.partition, ""}
        for driver in {driver_major, None}
    )


def _fingerprint(kind: GpuKind, memory: str, *, partition: str, driver_major: str | None) -> str:
    """Return the hash of the facts; those that journals of an earlier version lack are left out where unknown."""
    facts = {"device": "cuda", "product": kind.product, "memory": memory, "compute": kind.compute}
    later = {"mig": partition or None, "driver": driver_major}
    return digest(facts | {name: fact for name, fact in later.items() if fact is not None})[:16]


def _kind(node: NodeRecord) -> GpuKind:
    compute = (node.labels.get(labels.GPU_COMPUTE_MAJOR), node.labels.get(labels.GPU_COMPUTE_MINOR))
    memories = (node.labels.get(key, "") for key in labels.GPU_MEMORY_LABELS)
    product = product_of(node)
    return GpuKind(
        product=product,
        memory=next(filter(None, memories), ""),
        compute=".".join(part for part in compute if part is not None),
        partition="" if _MIG_PROFILE.search(product) else node.labels.get(labels.GPU_PARTITION, ""),
    )


def _order(kind: GpuKind) -> tuple[str, str, str, bool, float, str]:
    size = _mebibytes(kind.memory)
    is_plain = size is not None and kind.memory == str(int(size))
    return (kind.product, kind.compute, kind.partition, not is_plain, size or 0.0, kind.memory)


def _is_same_kind(one: GpuKind, other: GpuKind) -> bool:
    if (one.product, one.compute, one.partition) != (other.product, other.compute, other.partition):
        return False
    sizes = (_mebibytes(one.memory), _mebibytes(other.memory))
    if sizes[0] is None or sizes[1] is None:
        return one.memory == other.memory
    return _is_same_memory(sizes[0], sizes[1])


def _is_same_memory(one_mib: float, other_mib: float) -> bool:
    return max(one_mib, other_mib) <= min(one_mib, other_mib) * _SAME_MEMORY


def _mebibytes(text: str) -> float | None:
    """Return the memory in a label in MiB, None if it is no amount; a number without a unit is in MiB or in bytes."""
    found = _MEMORY.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        return None
    number, unit = float(found[1]), (found[2] or "").lower()[:1]
    if not unit and number >= _MOST_MIB:
        unit = "b"
    return number * _MIB_OF_UNIT.get(unit, 1.0)


def _in_words(memory: str) -> str:
    size = _mebibytes(memory)
    return memory if size is None else f"{size:.0f} MB"
