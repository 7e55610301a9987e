"""Say in words what the measurements of a round belong to, and what differs between two rounds.

The facts are those of which the measurement identity is made, under the names of the study's fields. They are for
people: identities, not words, decide whether measurements may be compared.
"""

import re
from collections.abc import Mapping

from infpop_operator.core.fingerprint import digest, identity_parts
from infpop_operator.core.model import EngineSettings, Hardware, Round
from infpop_operator.core.study import Pool, Study

Subject = tuple[tuple[str, str], ...]

HARDWARE = "hardware"  # the fact that holds the fingerprint of the hardware
_HARDWARE_FACTS: Mapping[str, str] = {  # field of `Hardware` -> name of the fact
    "gpu_model": "GPU",
    "gpu_memory_mib": "GPU memory (MiB)",
    "compute_capability": "compute capability",
    "driver_major": "GPU driver",
    "mig": "MIG profile",
}
_NAMES: Mapping[str, str] = {
    "model.fingerprint": "model",
    "workload.fingerprint": "workload",
    "seed": "algorithm.seed",
    "measurement.minRepeatSeconds": "measurement.minDuration (s)",
    "measurement.maxSpreadRatio": "measurement.maxSpread",
    "trialsShareALoad": "trials share an engine load",
    "method": "measurement method",
    "shareOfNode.cpuMillicores": "requested CPU (millicores)",
    "shareOfNode.memoryBytes": "requested memory (bytes)",
}
_MAPS = ("engine.args.", "podTemplate.")  # facts whose names are the user's own words
_ABSENT = "none"
_LONGEST_VALUE = 120  # characters; a longer value is cut, and a hash of all of it makes it differ from another one
_MOST_ARGUMENTS = 24  # shown one by one
_MOST_DIFFERENCES = 8
_CONTENTS = re.compile(r" \(contents [^()]{0,8}\)$")
_CUT_OFF = re.compile(r"… \([0-9a-f]+\)$")


def subject(study: Study, pool: Pool) -> Subject:
    """Return the facts that the measurements of `study` on `pool` belong to, by name, without absent facts.

    The values are cut to a length for people. Two subjects differ wherever the measurement identities do.
    """
    facts = {**_hardware(Hardware.of(pool)), **_flat(_in_words(study, pool))}
    return tuple((name, _cut(value)) for name, value in _with_few_arguments(facts).items())


def recorded_model(facts: Mapping[str, str], current: str) -> str:
    """Return the model's name in the facts of a round; `current` if they lack it, or have it cut off."""
    words = facts.get("model", "")
    return (current if _CUT_OFF.search(words) else _CONTENTS.sub("", words)) or current


def differences(before: Round, study: Study, pool: Pool) -> tuple[str, ...]:
    """Return what changed since the round `before`, one entry for each fact: "GPU A → B", at least one.

    A round of an earlier version has no subject: then only its hardware and the main engine settings are compared.
    """
    now, is_whole = dict(subject(study, pool)), bool(before.subject)
    was = dict(before.subject) if is_whole else _of_earlier_version(before)
    names = list(dict.fromkeys((*(name for name in now if is_whole or name.startswith("engine.args.")), *was)))
    found = [name for name in names if was.get(name) != now.get(name)]
    if any(name in _HARDWARE_FACTS.values() for name in found):
        found = [name for name in found if name != HARDWARE]
    said = [f"{name} {was.get(name, _ABSENT)} → {now.get(name, _ABSENT)}" for name in found]
    if not said:
        said = ["what is measured (the version that started the last round did not record it)"]
    more = len(said) - _MOST_DIFFERENCES
    return (*said[:_MOST_DIFFERENCES], "and more") if more > 0 else tuple(said)


def _in_words(study: Study, pool: Pool) -> dict[str, object]:
    """Return the parts of the identity, with the model and the workload named as the user knows them."""
    parts = identity_parts(study, pool)
    model, workload = parts["model"], parts["workload"]
    if isinstance(model, dict):
        contents = study.model_fingerprint
        named = contents if contents == study.model.name else f"{study.model.name} (contents {contents[:8]})"
        parts["model"] = model | {"fingerprint": named}
    if isinstance(workload, dict):
        source = study.workload.source.model_dump(mode="json", exclude_none=True)
        named = " ".join(str(value) for value in source.values())
        parts["workload"] = workload | {"fingerprint": f"{named} (contents {study.workload_fingerprint[:8]})"}
    return parts


def _flat(parts: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings, named by their path in the study's notation."""
    facts: dict[str, str] = {}
    for key, value in parts.items():
        name = f"{prefix}{key if prefix in _MAPS else _camel(key)}"
        match value:
            case None | "":
                continue
            case dict():
                facts |= _flat(value, f"{name}.")
            case bool():
                facts[_NAMES.get(name, name)] = str(value).lower()
            case list():
                facts[_NAMES.get(name, name)] = ", ".join(map(str, value))
            case _:
                facts[_NAMES.get(name, name)] = str(value)
    return facts


def _hardware(hardware: Hardware) -> dict[str, str]:
    values = ((name, getattr(hardware, field)) for field, name in _HARDWARE_FACTS.items())
    return {name: str(value) for name, value in values if value is not None}


def _of_earlier_version(before: Round) -> dict[str, str]:
    """Return the facts that a round of an earlier version tells."""
    facts: dict[str, str] = {}
    if before.hardware is not None:
        facts |= _hardware(before.hardware) | {HARDWARE: before.hardware.fingerprint}
    if before.engine is not None:
        facts |= _engine(before.engine)
    return facts


def _engine(settings: EngineSettings) -> dict[str, str]:
    return _flat(
        {
            "engine": {
                "name": settings.name,
                "max_num_batched_tokens": settings.max_num_batched_tokens,
                "enforce_eager": settings.enforce_eager,
                "args": dict(settings.args),
            },
            "model": {"dtype": settings.dtype, "revision": settings.revision},
        }
    )


def _with_few_arguments(facts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the facts; many engine arguments or fields of a Pod become one fact, so that a journal stays small."""
    few = facts
    for prefix in _MAPS:
        found = {name: value for name, value in few.items() if name.startswith(prefix)}
        if len(found) > _MOST_ARGUMENTS:
            whole = " ".join(f"{name.removeprefix(prefix)}={value}" for name, value in found.items())
            few = {name: value for name, value in few.items() if name not in found} | {prefix.rstrip("."): whole}
    return few


def _cut(value: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in value)
    return text if text == value and len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({digest(value)[:8]})"


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
