"""The command `infpop replay retune`."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.cli.replay_jobs import check_output, option_error, run_all, write_output
from infpop_operator.cli.replay_table import render_retune
from infpop_operator.cli.terminal import console
from infpop_operator.core.errors import InfPopError
from infpop_operator.core.search import WARM_STARTED
from infpop_operator.core.study import AlgorithmName
from infpop_operator.replay import retune
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import on, read_grids

_MEMORY = re.compile(r"(?P<name>.+)=(?P<number>[1-9][0-9]{0,6})(?P<unit>GiB|MiB)")


def run(
    landscapes: Path,
    *,
    old: str,
    new: str,
    seeds: int,
    first_trials: int | None,
    gpu_memory: Sequence[str],
    algorithm: str,
    load_seconds: float | None,
    samples: int,
    new_tokens: int | None,
    processes: int,
    output: Path | None,
) -> ExitCode:
    """Print what retuning gains on the recorded landscapes, and write it to `output`."""
    try:
        check_output(output)
        options = retune.Options(
            seeds=seeds,
            first_trials=first_trials,
            gpu_memory_mib=tuple(_memory(text) for text in gpu_memory),
            algorithm=_algorithm(algorithm),
            costs=CostModel(samples=samples, new_tokens=new_tokens, load_seconds=load_seconds),
        )
        grids = read_grids(landscapes)
        pairs = retune.pairs(on(grids, old), on(grids, new))
        if not pairs:
            raise option_error("--from, --to", f"{old}, {new}", "no model works on both", "Choose two other GPU models")
    except InfPopError as error:
        return print_error(f"{landscapes}: cannot be replayed.", error)
    jobs = retune.jobs(pairs, options)
    found = list(zip(jobs, run_all(partial(retune.run, options=options), jobs, processes), strict=True))
    results = [retune.summarise(found, *pair) for pair in pairs]
    document = retune.to_document(results, pairs[0][0].gpu_model, pairs[0][1].gpu_model)
    console().print(render_retune(results, document), crop=False)
    return write_output(output, document)


def _algorithm(name: str) -> AlgorithmName:
    found = next((known for known in WARM_STARTED if known == name), None)
    if found is None:
        remedy = f"Use one that starts warm: {', '.join(sorted(WARM_STARTED))}"
        raise option_error("--algorithm", name, "is not one that learns from an earlier round", remedy)
    return found


def _memory(text: str) -> tuple[str, int]:
    found = _MEMORY.fullmatch(text)
    if found is None:
        remedy = "Write MODEL=NUMBER with GiB or MiB, such as V100=32GiB"
        raise option_error("--gpu-memory", text, "is not understood", remedy)
    return (found["name"], int(found["number"]) * (1024 if found["unit"] == "GiB" else 1))
