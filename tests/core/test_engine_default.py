"""The baseline of a user who has set nothing: the engine's own configuration, on the hardware of the round."""

from dataclasses import replace

import pytest

from factories.runs import make_finish
from factories.studies import START, make_cell, make_pool, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.model import UNSEEN, History, StartedRun
from infpop_operator.core.scope import baseline_of
from infpop_operator.core.study import ENGINE_DEFAULT, Configuration, SearchSpace
from infpop_runner.contract import EngineSpec

GIB = 1024
VLLM = EngineSpec(name="vllm")


@pytest.mark.parametrize(
    ("engine", "gpu", "memory_mib", "expected"),
    [
        (VLLM, "NVIDIA-A100-SXM4-40GB", 40 * GIB, make_cell(1, 256)),
        (VLLM, "NVIDIA-A100-SXM4-80GB", 80 * GIB, make_cell(1, 256)),
        (VLLM, "NVIDIA-H100-80GB-HBM3", 70 * GIB, make_cell(1, 1024)),
        (VLLM, "NVIDIA-L40S", 70 * GIB - 1, make_cell(1, 256)),
        (VLLM, "NVIDIA-A100X", 160 * GIB, make_cell(1, 1024)),
        (VLLM, None, None, make_cell(1, 256)),
        (VLLM.model_copy(update={"max_num_batched_tokens": 100}), None, None, make_cell(1, 100)),
        (EngineSpec(name="hf-pipeline"), "NVIDIA-H100-80GB-HBM3", 80 * GIB, make_cell(1, 1)),
        (make_study().engine, "A100", None, make_cell(2, 4)),
    ],
)
def test_the_default_of_an_engine_depends_on_its_gpus(
    engine: EngineSpec, gpu: str | None, memory_mib: int | None, expected: Configuration
) -> None:
    """The numbers are those of vLLM's offline engine; the first run measures this cell, also outside of the space."""
    pool = make_pool(gpu_model=gpu, gpu_memory_mib=memory_mib)
    space = SearchSpace(gpu_counts=(2, 4), batch_sizes=(4, 8))
    study = make_study(engine=engine, pools=(pool,), space=space, baseline=ENGINE_DEFAULT)
    decision = decide(study, History(started_at=START), {}, START)
    (first,) = decision.history.rounds
    assert first.baseline == baseline_of(study, first) == expected
    assert decision.start[0].trials[0].configuration == expected


def test_a_default_that_depends_on_the_gpus_waits_for_the_first_node() -> None:
    """A pool that scales from zero measures one baseline, that of the GPUs that it got, none for unknown GPUs."""
    unseen = make_pool(fingerprint=UNSEEN, gpu_model=None)
    seen = make_pool(gpu_model="NVIDIA-H100-80GB-HBM3", gpu_memory_mib=80 * GIB, known_as=UNSEEN)
    study = make_study(engine=VLLM, pools=(unseen,), space=SearchSpace(gpu_counts=(1,), batch_sizes=(4, 8)))
    study = replace(study, baseline=ENGINE_DEFAULT)
    first = decide(study, History(started_at=START), {}, START)
    (run,) = first.start
    assert run.trials[0].configuration in {make_cell(1, 4), make_cell(1, 8)}
    live = replace(first.history, active=(StartedRun(run=run, started_at=START, held_since=START),))
    known = replace(study, pools=(seen,))
    landed = decide(known, live, {}, START)
    assert (landed.start, len(landed.history.rounds)) == ((), 1)
    (second,) = decide(known, landed.history, {run.name: make_finish(run, [1.0])}, START).start
    assert (second.round, second.trials[0].configuration) == (1, make_cell(1, 1024))
