"""The search `landscape` behind Hyperopt's own interface: `hyperopt.fmin(algo=suggest)`.

    space = {"gpuCount": hp.choice("gpuCount", [1, 2, 4, 8]), "batchSize": hp.choice("batchSize", [8, 16, 32, 64])}
    fmin(objective, space, algo=partial(suggest, facts=SearchFacts(engine="vllm")), max_evals=32)

The axes are `hp.choice` or `hp.quniform`: `gpuCount`, `batchSize`, and any others as extra parameters, with or without
the prefix `extra.`. A point is never suggested twice; after the last one `fmin` ends. An objective that fails returns
`{"status": STATUS_FAIL}`, with `"too_large": True` where its batch was the reason, or `"while_loading": True`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR, STATUS_OK, Trials
from hyperopt.base import Domain, miscs_update_idxs_vals
from hyperopt.pyll.base import dfs

from infpop_operator.core.search.encoding import BATCH_SIZE, EXTRA_PREFIX, GPU_COUNT
from infpop_operator.core.search.landscape.ask import propose
from infpop_operator.core.search.request import SearchFacts, SearchRequest, SearchTrial
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, ExtraParameter, Scalar, SearchSpace

_MOST_VALUES = 10_000  # of an axis

# What is taken to be known if the caller says nothing: a loss may be anything.
UNKNOWN = SearchFacts(losses_are_throughput=False)


def suggest(
    new_ids: Sequence[int], domain: Domain, trials: Trials, seed: int, facts: SearchFacts = UNKNOWN
) -> list[dict[str, Any]]:
    """Return the documents of new trials, fewer than asked for where no point is left.

    Args:
        new_ids: of the trials.
        domain: of the search space.
        trials: what has been tried.
        seed: of the random numbers, from `fmin`.
        facts: what is known of model, engine and hardware, and whether a loss is a negative throughput.

    Raises:
        ValueError: an axis is neither `hp.choice` nor `hp.quniform`, or depends on another one.
    """
    axes = _axes(domain)
    space = _space({label: tuple(values) for label, (values, _) in axes.items()})
    known = [_trial(axes, document) for document in trials.trials]
    documents: list[dict[str, Any]] = []
    for new_id in new_ids:
        tried = {trial.configuration for trial in known}
        opened = tuple(cell for cell in cells(space) if cell not in tried)
        cell = propose(
            SearchRequest(
                space=space,
                trials=tuple(known),
                open_cells=opened,
                index=new_id,
                seed=seed % 2**32,
                algorithm="landscape",
                facts=facts,
            )
        )
        if cell is None:
            break
        known.append(SearchTrial(configuration=cell, state="pending"))
        documents += _documents(new_id, domain, trials, _point(axes, cell))
    return documents


Axes = Mapping[str, tuple[list[Scalar], bool]]  # by label: the values, and whether a point has their position


def _axes(domain: Domain) -> Axes:
    choices = {
        node.pos_args[0].arg["label"].obj: [option.obj for option in node.pos_args[1:]]
        for node in dfs(domain.expr)
        if node.name == "switch" and all(option.name == "literal" for option in node.pos_args[1:])
    }
    return {label: _values(label, node, choices) for label, node in domain.params.items()}


def _values(label: str, node: Any, choices: Mapping[str, list[Scalar]]) -> tuple[list[Scalar], bool]:  # noqa: ANN401
    if label in choices:
        return choices[label], True
    if node.name == "float" and node.pos_args[0].name == "quniform":
        node = node.pos_args[0]
    if node.name != "quniform":
        raise ValueError(f"axis {label} is {node.name}: make it hp.choice of plain values, or hp.quniform")
    low, high, step = (float(node.arg[name].obj) for name in ("low", "high", "q"))
    first, last = round(low / step), round(high / step)
    if last - first >= _MOST_VALUES:
        raise ValueError(f"axis {label} has {last - first + 1} values, at most {_MOST_VALUES}")
    numbers = [place * step for place in range(first, last + 1)]
    return [int(number) if number.is_integer() else number for number in numbers], False


def _space(values: Mapping[str, tuple[Scalar, ...]]) -> SearchSpace:
    extra = {label: found for label, found in values.items() if label not in {GPU_COUNT, BATCH_SIZE}}
    return SearchSpace(
        gpu_counts=tuple(sorted(int(value) for value in values.get(GPU_COUNT, (1,)))),
        batch_sizes=tuple(sorted(int(value) for value in values.get(BATCH_SIZE, (1,)))),
        extra=tuple(ExtraParameter(name=_name(label), values=found) for label, found in extra.items()),
    )


def _name(label: str) -> str:
    return label.removeprefix(EXTRA_PREFIX)


def _trial(axes: Axes, document: Mapping[str, Any]) -> SearchTrial:
    point = {label: found[0] for label, found in document["misc"]["vals"].items()}
    values = {
        label: every[int(point[label])] if by_place else _nearest(every, float(point[label]))
        for label, (every, by_place) in axes.items()
    }
    extra = sorted((_name(label), value) for label, value in values.items() if label not in {GPU_COUNT, BATCH_SIZE})
    cell = Configuration(
        gpu_count=int(values.get(GPU_COUNT, 1)), batch_size=int(values.get(BATCH_SIZE, 1)), extra=tuple(extra)
    )
    result = document["result"]
    if document["state"] == JOB_STATE_DONE and result.get("status") == STATUS_OK and result.get("loss") is not None:
        return SearchTrial(configuration=cell, state="measured", loss=float(result["loss"]))
    if document["state"] not in {JOB_STATE_DONE, JOB_STATE_ERROR}:
        return SearchTrial(configuration=cell, state="pending")
    too_large, while_loading = bool(result.get("too_large")), bool(result.get("while_loading"))
    return SearchTrial(configuration=cell, state="failed", too_large=too_large, while_loading=while_loading)


def _nearest(values: Sequence[Scalar], wanted: float) -> Scalar:
    return min(values, key=lambda value: abs(float(value) - wanted))


def _point(axes: Axes, cell: Configuration) -> dict[str, Any]:
    chosen: dict[str, Scalar] = {GPU_COUNT: cell.gpu_count, BATCH_SIZE: cell.batch_size, **dict(cell.extra)}
    found: dict[str, Any] = {}
    for label, (values, by_place) in axes.items():
        value = chosen[label if label in {GPU_COUNT, BATCH_SIZE} else _name(label)]
        found[label] = values.index(value) if by_place else value
    return found


def _documents(new_id: int, domain: Domain, trials: Trials, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    misc = {"tid": new_id, "cmd": domain.cmd, "workdir": domain.workdir}
    miscs_update_idxs_vals([misc], {label: [new_id] for label in point}, {label: [point[label]] for label in point})
    documents: list[dict[str, Any]] = trials.new_trial_docs([new_id], [None], [domain.new_result()], [misc])
    return documents
