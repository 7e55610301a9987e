"""The conformance suite on every engine, and tests of single engines."""

import json
import re
import shutil
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from engines.conformance import BATCHES, NEW_TOKENS, SAMPLES, EngineConformance, Outcome
from engines.specs import make_run_spec
from infpop_runner.contract import Infeasible, Measured, RunSpec
from infpop_runner.engines.errors import EngineRefusedError
from runner.launch import Launched, launch

TINY_MODEL = "infpop_runner.engines.tiny_model"  # loads torch, so not at module level
SHARED_MEMORY = Path("/dev/shm")
WORKLOAD = {"source": {"kind": "builtin"}, "samples": SAMPLES, "max_new_tokens": NEW_TOKENS}
LONG = {
    "measurement": {"min_repeat_seconds": 1.5}
}  # three batches of three repeats: more than ten seconds to be looked at in
HELD = {"scrape_grace_seconds": 600}


def shared_memory_of(run: Launched) -> set[str]:
    """Return the names of shared memory that the runner or one of its descendants maps now."""
    names: set[str] = set()
    for pid in [run.process.pid, *(process.pid for process in run.living())]:
        with suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
            names |= set(re.findall(rf"{SHARED_MEMORY}/(\S+)$", maps, re.MULTILINE))
    return names


def carry_out(spec: RunSpec, directory: Path) -> Outcome:
    """Run the spec to its end, scraping it while it measures and while it is held without an engine."""
    metrics = ""
    mapped: set[str] = set()

    def seen() -> bool:
        nonlocal metrics, mapped
        if not metrics and run.port() is not None and 'state="measuring",study="study"} 1.0' in (text := run.metrics()):
            metrics = text if "infpop_generated_tokens_total{" in text else ""
            mapped |= shared_memory_of(run)
        return bool(metrics)

    with launch(spec, directory) as run:
        run.wait_until(seen)
        run.wait_until(lambda: run.is_complete() and not run.living())
        final = run.scrape()
        result = run.finish()
        survivors = [str(process) for process in run.living()]
    return Outcome(
        spec=spec,
        result=result,
        metrics=metrics,
        final_metrics=final,
        survivors=survivors,
        shared_memory={name for name in mapped if (SHARED_MEMORY / name).exists()},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model with random weights, written once."""
    directory: Path = tmp_path_factory.mktemp("model") / "tiny"
    import_module(TINY_MODEL).write_tiny_model(directory)
    return str(directory)


class TestSimulated(EngineConformance):
    """The simulated engine keeps every guarantee of a real one."""

    @pytest.fixture(scope="class")
    @classmethod
    def outcome(cls, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
        """One run."""
        engine = {"name": "simulated", "simulation": {"noise_ratio": 0.05, "repeat_seconds": 0.5}}
        spec = make_run_spec(batches=BATCHES, engine=engine, workload=WORKLOAD, **HELD)
        return carry_out(spec, tmp_path_factory.mktemp("simulated"))


@pytest.mark.engine
class TestVllm(EngineConformance):
    """vLLM on one rank: three batch sizes in one load."""

    @pytest.fixture(scope="class")
    @classmethod
    def outcome(cls, tmp_path_factory: pytest.TempPathFactory, model: str) -> Outcome:
        """One run."""
        spec = make_run_spec(batches=BATCHES, model={"name": model}, workload=WORKLOAD, **LONG, **HELD)
        return carry_out(spec, tmp_path_factory.mktemp("vllm"))

    def test_the_model_is_described(self, outcome: Outcome) -> None:
        """Heads and sizes come from the loaded configuration."""
        facts = outcome.result.model
        assert facts is not None
        assert (facts.attention_heads, facts.key_value_heads) == (4, 2)
        assert (facts.parameters, facts.weight_bytes) == (557_696, 2 * 557_696)

    def test_one_load_is_pinned_to_the_largest_batch(self, outcome: Outcome) -> None:
        """The arguments as passed are recorded, prefix caching is off, and the batch limit has its scheduler."""
        args = outcome.result.provenance.engine_args
        assert (args["max_num_seqs"], args["enable_prefix_caching"]) == (8, False)
        assert "batch_limit" in str(args["scheduler_cls"])

    def test_times_in_the_batch_are_known(self, outcome: Outcome) -> None:
        """VLLM's own request times give the percentiles; unknown values have a reason."""
        for trial in outcome.measured:
            assert trial.batch_seconds_p50 is not None
            assert trial.batch_seconds_p95 is not None
            assert 0 < trial.batch_seconds_p50 <= trial.batch_seconds_p95
            assert trial.missing == {"gpu_memory_peak_bytes": "NoGpu", "pad_ratio": "NoPadding"}

    def test_the_batch_was_filled(self, outcome: Outcome) -> None:
        """With enough prompts and tokens the reached concurrency equals the batch size."""
        assert [trial.concurrency_peak for trial in outcome.measured] == list(BATCHES)


@pytest.mark.engine
class TestHfPipeline(EngineConformance):
    """A transformers pipeline on the CPU: three batch sizes in one load."""

    @pytest.fixture(scope="class")
    @classmethod
    def outcome(cls, tmp_path_factory: pytest.TempPathFactory, model: str) -> Outcome:
        """One run."""
        spec = make_run_spec(
            batches=BATCHES,
            model={"name": model},
            engine={"name": "hf-pipeline"},
            workload=WORKLOAD,
            **LONG,
            **HELD,
        )
        return carry_out(spec, tmp_path_factory.mktemp("hf"))

    def test_padding_is_counted(self, outcome: Outcome) -> None:
        """A batch of one has no padding; a larger one with prompts of different lengths has some."""
        ratios = {trial.batch_size: trial.pad_ratio for trial in outcome.measured}
        assert ratios.pop(1) == 0.0
        assert all(ratio is not None and 0 < ratio < 1 for ratio in ratios.values())


@pytest.mark.engine
@pytest.mark.parametrize(("name", "fewest"), [("vllm", 4), ("hf-pipeline", 1)])
def test_an_adaptive_run_measures_parts_of_a_pass(tmp_path: Path, model: str, name: str, fewest: int) -> None:
    """Real engines are measured block by block, with an interval."""
    spec = make_run_spec(
        batches=(1, 4),
        model={"name": model},
        engine={"name": name},
        workload={"source": {"kind": "builtin"}, "samples": 24, "max_new_tokens": NEW_TOKENS},
        measurement={"mode": "adaptive", "interval_ratio": 0.5, "min_repeat_seconds": 0.0},
    )
    with launch(spec, tmp_path) as run:
        result = run.finish()
    for batch_size, trial in zip((1, 4), result.trials, strict=True):
        assert isinstance(trial, Measured), (trial, result.broken)
        assert trial.mode == "adaptive"
        assert trial.interval_tokens_per_second is not None
        assert trial.interval_tokens_per_second[0] < trial.throughput_tokens_per_second
        assert trial.generated_tokens % (fewest * batch_size * NEW_TOKENS) == 0
        assert trial.concurrency_peak == batch_size


@pytest.mark.engine
def test_two_ranks_are_a_real_tensor_parallel_engine(tmp_path: Path, model: str) -> None:
    """On a CPU, gpu_count 2 is two worker processes that share one model, with random weights on request."""
    spec = make_run_spec(gpu_count=2, batches=(8,), model={"name": model, "load_format": "dummy"}, workload=WORKLOAD)
    with launch(spec, tmp_path) as run:
        run.wait_until(lambda: len(run.living("VLLM::Worker_TP")) == 2)
        result = run.finish()
        assert run.living() == []
    (trial,) = result.trials
    assert isinstance(trial, Measured), trial
    assert result.provenance.device_mode == "tensor-parallel"
    assert result.provenance.engine_args["tensor_parallel_size"] == 2
    assert "scheduler_cls" not in result.provenance.engine_args


@pytest.mark.engine
def test_an_engine_killed_while_it_measures_keeps_what_was_measured(tmp_path: Path, model: str) -> None:
    """A kill -9 of vLLM's engine process is an EngineCrash; finished trials stay, and no process is left."""
    spec = make_run_spec(
        batches=(2, 4), model={"name": model}, workload=WORKLOAD, measurement={"min_repeat_seconds": 2.0}
    )
    with launch(spec, tmp_path) as run:
        run.wait_until(lambda: bool((result := run.result()) and result.trials))
        (core,) = run.living("VLLM::EngineCore")
        core.kill()
        result = run.finish()
        assert run.living() == []
    assert [(trial.outcome, trial.batch_size) for trial in result.trials] == [("measured", 2)]
    assert result.broken is not None
    assert result.broken.reason == "EngineCrash"


@pytest.mark.engine
def test_a_load_past_its_limit_leaves_no_process(tmp_path: Path, model: str) -> None:
    """A load that takes too long is a LoadTimeout with exit status 0, and the engine's processes are gone."""
    spec = make_run_spec(model={"name": model}, workload=WORKLOAD, measurement={"load_timeout_seconds": 40.0})
    with launch(spec, tmp_path) as run:
        # A stopped process never finishes its load, however fast the machine is; a slow one may never get so far.
        run.wait_until(lambda: bool(run.living("VLLM::EngineCore") or ((found := run.result()) and found.ended_at)))
        for core in run.living("VLLM::EngineCore"):
            core.suspend()
        result = run.finish()
        assert run.living() == []
    assert result.broken is not None
    assert result.broken.reason == "LoadTimeout"


@pytest.mark.engine
def test_an_engine_whose_starter_died_is_gone(tmp_path: Path, model: str) -> None:
    """When the process that started the runner dies while vLLM loads, vLLM's processes die too."""
    spec = make_run_spec(model={"name": model}, workload=WORKLOAD)
    with launch(spec, tmp_path) as run:
        run.wait_until(lambda: bool(run.living("VLLM::EngineCore")))
        run.cut_lifeline()
        result = run.finish()
        assert run.living() == []
    assert result.broken is not None
    assert result.broken.reason == "Stopped"


@pytest.mark.engine
def test_a_cache_that_does_not_fit_is_out_of_memory(tmp_path: Path, model: str) -> None:
    """VLLM's own message in a child's log decides that a load cannot fit, and each smaller batch is tried."""
    spec = make_run_spec(
        batches=(4,), model={"name": model}, workload=WORKLOAD, engine={"args": {"kv_cache_memory_bytes": 4096}}
    )
    with launch(spec, tmp_path) as run:
        result = run.finish()
        assert run.living() == []
    (trial,) = result.trials
    assert isinstance(trial, Infeasible), (trial, result.broken)
    assert trial.reason == "GpuOutOfMemory"
    assert result.broken is None


@pytest.mark.engine
def test_a_model_that_cannot_be_split_is_infeasible_at_that_count(tmp_path: Path, model: str) -> None:
    """An MLP of 255 rows is not split over two ranks: a worker's bare assertion says so, and for all batches."""
    uneven = tmp_path / "uneven"
    shutil.copytree(model, uneven)
    config = json.loads((uneven / "config.json").read_text())
    (uneven / "config.json").write_text(json.dumps(config | {"intermediate_size": 255}))
    spec = make_run_spec(
        batches=(2, 4), model={"name": str(uneven), "load_format": "dummy"}, workload=WORKLOAD, gpu_count=2
    )
    with launch(spec, tmp_path) as run:
        result = run.finish()
        assert run.living() == []
    assert [trial.reason for trial in result.trials if isinstance(trial, Infeasible)] == ["UnsupportedGpuCount"] * 2
    assert {trial.detail for trial in result.trials if isinstance(trial, Infeasible)} <= {
        "assert all(output_size % self.tp_size == 0 for output_size in output_sizes)",
        "255 is not divisible by 2",
    }


@pytest.mark.engine
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu_count": 2}, "UnsupportedGpuCount"),
        ({"engine": {"name": "hf-pipeline", "args": {"nonsense": 1}}}, "RejectedArguments"),
        (
            {"workload": {"source": {"kind": "synthetic", "prompt_tokens": 5000}, "samples": 2}},
            "RejectedArguments",
        ),
    ],
)
def test_what_a_pipeline_refuses_is_infeasible_for_all_batches(
    tmp_path: Path, model: str, changes: dict[str, object], reason: str
) -> None:
    """A refusal that no smaller batch can change is reported for every trial of the run."""
    defaults = {"model": {"name": model}, "engine": {"name": "hf-pipeline"}}
    with launch(make_run_spec(batches=(2, 4), **(defaults | changes)), tmp_path) as run:
        result = run.finish()
    assert [(trial.outcome, trial.batch_size) for trial in result.trials] == [("infeasible", 2), ("infeasible", 4)]
    assert {trial.reason for trial in result.trials if isinstance(trial, Infeasible)} == {reason}


@pytest.mark.engine
def test_random_weights_take_the_same_arguments(tmp_path: Path, model: str) -> None:
    """A pipeline with random weights passes the user's arguments on, and refuses one that does not exist."""
    outcomes = {}
    for args in ({"attn_implementation": "eager"}, {"nonsense": 1}):
        name = next(iter(args))
        (tmp_path / name).mkdir()
        spec = make_run_spec(
            model={"name": model, "load_format": "dummy"}, engine={"name": "hf-pipeline", "args": args}
        )
        with launch(spec, tmp_path / name) as run:
            (trial,) = run.finish().trials
        outcomes[name] = (trial.outcome, getattr(trial, "reason", None))
    assert outcomes == {"attn_implementation": ("measured", None), "nonsense": ("infeasible", "RejectedArguments")}


@pytest.mark.engine
@pytest.mark.parametrize(("place", "refused"), [("cpu", True), ("disk", True), (0, False), ("cuda:1", False)])
def test_a_model_that_is_partly_off_the_devices_is_out_of_memory(*, place: object, refused: bool) -> None:
    """If transformers silently offloads layers to memory or disk, the run does not measure a GPU."""
    pipelines = import_module("infpop_runner.engines.hf_pipeline")
    placed = {"model.embed_tokens": 0, "model.layers.0": place}
    if not refused:
        pipelines.refuse_offload(placed)
        return
    with pytest.raises(EngineRefusedError, match="1 of 2 parts") as found:
        pipelines.refuse_offload(placed)
    assert found.value.reason == "GpuOutOfMemory"


@pytest.mark.engine
@pytest.mark.parametrize("name", ["vllm", "hf-pipeline"])
def test_a_model_that_is_not_there_is_broken(tmp_path: Path, name: str) -> None:
    """Without the model no trial has an outcome."""
    spec = make_run_spec(model={"name": str(tmp_path / "nowhere")}, engine={"name": name})
    with launch(spec, tmp_path) as run:
        result = run.finish()
    assert result.trials == ()
    assert result.broken is not None
    assert result.broken.reason == "ModelUnavailable"


@pytest.mark.engine
def test_the_tiny_model_is_always_the_same(tmp_path: Path, model: str) -> None:
    """Writing the model again gives the same bytes, and an existing model directory is left unchanged."""
    tiny_model = import_module(TINY_MODEL)
    again = tmp_path / "again"
    tiny_model.write_tiny_model(again)
    first = {path.name: path.read_bytes() for path in Path(model).iterdir()}
    assert {path.name: path.read_bytes() for path in again.iterdir()} == first
    (again / "config.json").write_text("mine")
    tiny_model.write_tiny_model(again)
    assert (again / "config.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
