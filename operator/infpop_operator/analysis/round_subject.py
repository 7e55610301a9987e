"""What all trials of one round have in common, as fields of their rows: model, engine, hardware, workload, price.

A round keeps what it was measured with, whatever the study says now. A round of an early version, and a status without
its journal, do not tell: then the study as it is now does.
"""

import re
from collections.abc import Mapping
from typing import Any

from infpop_operator.api.convert import to_source
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.api.status_model import PoolStatus, RoundRow
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.model import Round
from infpop_operator.core.subject import recorded_model
from infpop_runner.contract import BuiltinSource, SyntheticSource

UNKNOWN = "unknown"  # a name that nothing tells
_CONTENTS = re.compile(r" \(contents ([^()]{1,8})\)$")


def shared_fields(study: StudyObject, source: str, pool: str, number: int, entry: Round | None) -> dict[str, Any]:
    """Return the fields that the rows of one round share.

    Args:
        study: the study with its status.
        source: where it was read.
        pool: the pool of the round.
        number: of the round.
        entry: the round in the journal, None without one.
    """
    node = _node(study.document, pool)
    known = dict(entry.subject) if entry is not None else {}
    settings = entry.engine if entry is not None else None
    engine = known.get("engine.name") or (settings.name if settings is not None else study.engine)
    return {
        "source": source,
        "study": study.name,
        "pool": pool,
        "round": number,
        "gpu_model": _gpu_model(study, pool, number, entry),
        "device": "CPU rank" if node is not None and node.device == "cpu" and not study.status.simulated else "GPU",
        "model": recorded_model(known, study.model) or UNKNOWN,
        "engine": engine or UNKNOWN,
        "dtype": known.get("model.dtype") or (settings.dtype if settings is not None else _dtype(study.document)),
        "price_per_gpu_hour": None if node is None else node.price,
        "workload": _workload(known, study.document),
        "software": known.get("software") or _image(study, pool, number),
        "identity": entry.identity if entry is not None else _identity(study, pool, number),
        "simulated": study.status.simulated,
        "objective": None if study.document is None else study.document.spec.objective.metric,
    }


def new_tokens(entry: Round | None, document: ThroughputStudy | None) -> int | None:
    """Return how many tokens each sequence of a round generated, None if nothing tells."""
    known = dict(entry.subject).get("workload.maxNewTokens", "") if entry is not None else ""
    if known.isdigit():
        return int(known)
    return None if document is None else document.spec.workload.max_new_tokens


def pool_status(study: StudyObject, pool: str, number: int) -> PoolStatus | None:
    """Return the row of a pool if the round is its newest."""
    return next((row for row in study.status.pools if (row.name, row.round) == (pool, number)), None)


def round_status(study: StudyObject, pool: str, number: int) -> RoundRow | None:
    """Return the row of a round, None if the status has none."""
    return next((row for row in study.status.rounds if (row.pool, row.round) == (pool, number)), None)


def _gpu_model(study: StudyObject, pool: str, number: int, entry: Round | None) -> str | None:
    if entry is not None and entry.hardware is not None:
        return entry.hardware.gpu_model
    rows = (round_status(study, pool, number), pool_status(study, pool, number))
    return next((row.gpu for row in rows if row is not None and row.gpu is not None), None)


def _image(study: StudyObject, pool: str, number: int) -> str | None:
    rows = (round_status(study, pool, number), pool_status(study, pool, number))
    return next((row.image for row in rows if row is not None and row.image), None)


def _identity(study: StudyObject, pool: str, number: int) -> str | None:
    row = pool_status(study, pool, number)
    return None if row is None else row.identity


def _dtype(document: ThroughputStudy | None) -> str | None:
    return None if document is None else document.spec.model.dtype


def _node(document: ThroughputStudy | None, pool: str) -> NodePool | None:
    nodes = () if document is None else document.spec.node_pools
    return next((node for node in nodes if node.name == pool), None)


def _workload(known: Mapping[str, str], document: ThroughputStudy | None) -> str | None:
    """Return the prompts and lengths in words; prompts of a file or dataset are told by their contents if known."""
    if "workload" in known:
        prompts = _recorded_prompts(known["workload"])
        samples, length = known.get("workload.samples", "?"), known.get("workload.maxNewTokens", "?")
    elif document is not None:
        prompts = _prompts(document)
        samples, length = str(document.spec.workload.samples), str(document.spec.workload.max_new_tokens)
    else:
        return None
    return f"{prompts}, {samples} prompts, {length} new tokens each"


def _recorded_prompts(words: str) -> str:
    kind = words.partition(" ")[0]
    contents = _CONTENTS.search(words)
    if kind in {"builtin", "synthetic"} or contents is None:
        return _CONTENTS.sub("", words)
    return f"prompts with contents {contents[1]}"


def _prompts(document: ThroughputStudy) -> str:
    source = to_source(document.spec.workload.source, None)
    if isinstance(source, BuiltinSource | SyntheticSource):
        return " ".join(str(value) for value in source.model_dump(mode="json", exclude_none=True).values())
    return f"{source.kind} prompts"
