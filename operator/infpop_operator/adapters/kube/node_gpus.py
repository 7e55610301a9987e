"""Read from the labels and resources of a Node which GPUs it has, and whether a run would have them to itself.

Pure. The hardware kind of a GPU is its product, its memory and its compute capability. The memory label differs by a
few percent between driver versions, so nearly equal sizes are one kind.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from infpop_operator.adapters.kube import labels
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.core.fingerprint import digest

_DIVIDED_PRODUCT = re.compile(r"-(MIG)-|-(SHARED)\b", re.IGNORECASE)
_INVALID_MIG = re.compile(r"-MIG-INVALID\b", re.IGNORECASE)
# The same card with another driver or with ECC: A100 81251, 81559, 81920; T4 15109, 15360; L4 22494, 23034 MiB.
# Variants of a product (10 and 12 GB, 40 and 80 GB) differ by much more.
_SAME_MEMORY = 1.03
_MOST_MIB = 1 << 30  # a larger number is in bytes
_MEMORY = re.compile(r"(\d+)(?:\.\d+)? ?(Ki|KiB|KB|K|Mi|MiB|MB|M|Gi|GiB|GB|G|B)?", re.IGNORECASE)
_MIB_OF_UNIT = {"g": 1024.0, "k": 2.0**-10, "b": 2.0**-20}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GpuKind:
    """The hardware kind of a Node's GPUs; GPUs of one kind are comparable. A part is empty if no label gives it."""

    product: str
    memory: str
    compute: str

    @property
    def is_exact(self) -> bool:
        """Return whether the labels of GPU feature discovery identify the GPUs, not just a cloud's name for them."""
        return bool(self.memory and self.compute)

    @property
    def fingerprint(self) -> str:
        """Return the identity of the hardware."""
        facts = {"device": "cuda", "product": self.product, "memory": self.memory, "compute": self.compute}
        return digest(facts)[:16]

    def __str__(self) -> str:
        """Return the kind as text for a message."""
        more = [_in_words(self.memory), f"compute {self.compute}" if self.compute else ""]
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


def is_cloud_name(fingerprint: str, product: str | None) -> bool:
    """Return whether `fingerprint` is of hardware of which only the cloud's name, `product`, was known."""
    return fingerprint == GpuKind(product=product or "", memory="", compute="").fingerprint


def is_same_hardware(kind: GpuKind, fingerprint: str) -> bool:
    """Return whether `fingerprint` is that of `kind`, or of the same kind with another memory label.

    A driver update changes the label of the same card by a few percent.
    """
    return fingerprint in _nearby_fingerprints(kind)


@lru_cache(maxsize=64)  # the hashes of one kind take some 20 ms
def _nearby_fingerprints(kind: GpuKind) -> frozenset[str]:
    size = _mebibytes(kind.memory)
    if size is None:
        return frozenset({kind.fingerprint})
    near = range(int(size / _SAME_MEMORY), int(size * _SAME_MEMORY) + 1)
    return frozenset(replace(kind, memory=str(memory)).fingerprint for memory in near) | {kind.fingerprint}


def _kind(node: NodeRecord) -> GpuKind:
    compute = (node.labels.get(labels.GPU_COMPUTE_MAJOR), node.labels.get(labels.GPU_COMPUTE_MINOR))
    return GpuKind(
        product=product_of(node),
        memory=node.labels.get(labels.GPU_MEMORY, ""),
        compute=".".join(part for part in compute if part is not None),
    )


def _order(kind: GpuKind) -> tuple[str, str, bool, float, str]:
    size = _mebibytes(kind.memory)
    is_plain = size is not None and kind.memory == str(int(size))
    return (kind.product, kind.compute, not is_plain, size or 0.0, kind.memory)


def _is_same_kind(one: GpuKind, other: GpuKind) -> bool:
    if (one.product, one.compute) != (other.product, other.compute):
        return False
    sizes = (_mebibytes(one.memory), _mebibytes(other.memory))
    if sizes[0] is None or sizes[1] is None:
        return one.memory == other.memory
    return max(sizes[0], sizes[1]) <= min(sizes[0], sizes[1]) * _SAME_MEMORY


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
