"""What the names in a file of recorded landscapes say about engine, model and hardware."""

import re
from collections.abc import Mapping
from typing import Literal

from infpop_operator.core.search.landscape.subject import memory_mib_of

_ENGINES: Mapping[str, Literal["vllm", "hf-pipeline"]] = {
    "vllm": "vllm",
    "hf": "hf-pipeline",
    "hf-pipeline": "hf-pipeline",
    "huggingface": "hf-pipeline",
    "transformers": "hf-pipeline",
}
_SHORT_NAMES = {"hf-pipeline": "hf"}

_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
# A size stands between characters that are no letters or digits of the same word: "Bloom-1b7", "Llama-2-7b-hf".
_SIZE = re.compile(
    r"(?<![a-z0-9.])(?:(?P<experts>\d+)x)?(?P<whole>\d+(?:[.]\d+)?)(?P<unit>[mbt])(?P<tenths>\d)?(?![a-z0-9])",
    re.IGNORECASE,
)
# Experts share attention and embeddings: Mixtral 8x7B has 46.7e9 parameters and 8x22B 141e9, each about 0.82 of the
# product in its name.
_SHARE_OF_EXPERTS = 0.82


def engine_of_name(name: str) -> Literal["vllm", "hf-pipeline"] | None:
    """Return the engine of InfPop that a name in a file means, None for one that InfPop does not have."""
    return _ENGINES.get(name.casefold())


def engine_key(name: str) -> str:
    """Return the name under which the results of an engine are summarised: `vllm`, `hf`, or the name in the file."""
    known = engine_of_name(name)
    return name.casefold() if known is None else _SHORT_NAMES.get(known, known)


def parameters_of_name(model: str) -> int | None:
    """Return about how many parameters a model has by its name, None if the name does not say.

    A mixture of experts (`8x7B`) counts with all its experts, because all of them are loaded.
    """
    found = list(_SIZE.finditer(model.rsplit("/", 1)[-1].replace("_", "-")))
    if not found:
        return None
    match = found[0]
    number = float(match["whole"]) + (int(match["tenths"]) / 10 if match["tenths"] else 0.0)
    experts = 1.0 if match["experts"] is None else int(match["experts"]) * _SHARE_OF_EXPERTS
    return round(number * experts * _UNITS[match["unit"].casefold()]) or None


def memory_mib_of_name(gpu_model: str) -> int | None:
    """Return the memory of one device in MiB by its name, None if the name is not known."""
    return memory_mib_of(gpu_model)
