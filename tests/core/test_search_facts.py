"""What a search is told about model, engine, hardware and costs."""

from dataclasses import replace

from factories.runs import make_ended, make_finish, make_history, make_loss, make_round, make_run
from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.model import Hardware
from infpop_operator.core.search.request import SearchFacts
from infpop_operator.core.search_facts import search_facts
from infpop_operator.core.study import Objective
from infpop_runner.contract import EngineSpec, MeasurementSpec, ModelFacts, SyntheticSource, WorkloadSpec

POOL = make_pool(gpu_model="NVIDIA-A100", gpu_memory_mib=40960)
STUDY = make_study(
    engine=EngineSpec(name="vllm"),
    workload=WorkloadSpec(source=SyntheticSource(prompt_tokens=9), samples=70, max_new_tokens=6),
    measurement=MeasurementSpec(repeats=5, min_repeat_seconds=7.0),
    model_facts=ModelFacts(parameters=10, weight_bytes=20),
    pools=(POOL,),
)
KNOWN = SearchFacts(
    engine="vllm",
    gpu_model="NVIDIA-A100",
    gpu_memory_mib=40960,
    parameters=10,
    weight_bytes=20,
    samples=70,
    new_tokens=6,
    repeats=5,
    min_repeat_seconds=7.0,
)


def test_the_study_tells_what_is_known_before_any_run() -> None:
    """Engine, hardware, declared model facts, workload and measurement; a load time only after a load."""
    assert search_facts(STUDY, POOL, make_history(), make_round()) == KNOWN
    adaptive = replace(
        STUDY, measurement=MeasurementSpec(mode="adaptive"), objective=Objective(metric="throughputPerGPU")
    )
    found = search_facts(adaptive, POOL, make_history(), make_round())
    assert (found.adaptive, found.losses_are_throughput, found.divided_by) == (True, False, (1.0, 0.0))
    own = replace(STUDY, objective=Objective(metric="queue", goal="Minimize"))
    assert search_facts(own, POOL, make_history(), make_round()).divided_by is None


def test_runs_tell_how_long_a_load_takes_and_what_the_model_is() -> None:
    """The median of the loads of this round alone; a fact that an engine reported wins over a declared one."""
    ended = []
    for number, seconds in enumerate((30.0, 90.0, 40.0, None)):
        run = make_run(f"r{number}", cells=[make_cell(1, 8)], index=number)
        model = ModelFacts(weight_bytes=21) if number == 3 else None
        ended.append(make_ended(run, make_finish(run, load_seconds=seconds, model=model)))
    ended.append(make_ended(make_run("lost", cells=[make_cell(1, 8)], index=4), make_loss()))
    other = make_run("other", cells=[make_cell(1, 8)], round=2)
    ended.append(make_ended(other, make_finish(other, load_seconds=500.0)))
    history = make_history(ended=tuple(ended))
    assert search_facts(STUDY, POOL, history, make_round()) == replace(KNOWN, load_seconds=40.0, weight_bytes=21)


def test_hardware_that_is_away_is_that_of_the_round() -> None:
    """A pool without nodes still has the GPUs that its round measures."""
    away = make_pool(gpu_model=None, gpu_memory_mib=None)
    known = make_round(hardware=Hardware.of(POOL))
    assert search_facts(STUDY, away, make_history(), known) == KNOWN
    unknown = search_facts(STUDY, away, make_history(), make_round(hardware=None))
    assert (unknown.gpu_model, unknown.gpu_memory_mib) == (None, None)
