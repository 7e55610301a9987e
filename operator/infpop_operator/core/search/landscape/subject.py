"""What is known of model and GPUs: how large the model is, and how much of the memory it fills."""

import re
from dataclasses import dataclass
from math import log2

from infpop_operator.core.search.request import SearchFacts

_BYTES_PER_PARAMETER = 2  # 16-bit weights, where only the number of parameters is known
_MIB = 2**20
# Memory by product name, GiB as vendors state them, the smaller where a product has several; a number in the name
# ("A100-SXM4-80GB") counts more, and what the node reports counts most. Longer names first.
_MEMORY_GIB: tuple[tuple[str, int], ...] = (
    ("MI300X", 192),
    ("MI325X", 256),
    ("MI300A", 128),
    ("MI300", 128),
    ("MI250", 128),
    ("MI210", 64),
    ("GH200", 96),
    ("GB200", 186),
    ("B300", 288),
    ("B200", 180),
    ("H200", 141),
    ("H100", 80),
    ("H800", 80),
    ("A100", 40),
    ("A800", 80),
    ("L40S", 48),
    ("L40", 48),
    ("A40", 48),
    ("A6000", 48),
    ("V100", 32),
    ("A30", 24),
    ("A10", 24),
    ("L4", 24),
    ("4090", 24),
    ("T4", 16),
    ("P100", 16),
    ("GAUDI3", 128),
    ("GAUDI2", 96),
    ("PVC", 128),
)
_STATED = re.compile(r"(?<![A-Z0-9])(\d+) ?G(?:i?B)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of a search: `size` is log2 of billions of parameters, `fill` log2 of weights / memory of one GPU.

    Each is None where it is unknown.
    """

    engine: str | None
    size: float | None
    fill: float | None


def subject_of(facts: SearchFacts) -> Subject:
    """Return the subject that the facts describe; one of parameters and weights gives the other."""
    weights = facts.weight_bytes
    if weights is None and facts.parameters is not None:
        weights = facts.parameters * _BYTES_PER_PARAMETER
    parameters = facts.parameters
    if parameters is None and weights is not None:
        parameters = weights // _BYTES_PER_PARAMETER
    memory = facts.gpu_memory_mib or memory_mib_of(facts.gpu_model)
    return Subject(
        engine=facts.engine,
        size=log2(parameters / 1e9) if parameters else None,
        fill=log2(weights / (memory * _MIB)) if weights and memory else None,
    )


def memory_mib_of(gpu_model: str | None) -> int | None:
    """Return the memory of a GPU from its product name, MiB; None if the name says nothing."""
    if gpu_model is None:
        return None
    stated = _STATED.search(gpu_model)
    if stated:
        return int(stated[1]) * 1024
    words = re.split(r"[^A-Z0-9]+", gpu_model.upper())
    return next((gib * 1024 for name, gib in _MEMORY_GIB if any(_is_of(name, word) for word in words)), None)


def _is_of(name: str, word: str) -> bool:
    """Return whether a word names a product or, with more letters, a variant of it: A10G, but not A1000, is an A10."""
    return re.fullmatch(rf"{name}[A-Z]*", word) is not None
