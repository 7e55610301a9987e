"""`infpop.load` and what a Study has: tables with types, the recommendation, landscapes, and clear errors."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import infpop
from cli.api_server import STUDIES, api_server
from replay.landscape_files import HEADER, write_file
from report.retuned_studies import retuned
from report.study_objects import ended
from upgrade.old_data import GOLDEN

OLD = GOLDEN / "local-finished"


@pytest.fixture(scope="module")
def old() -> infpop.Study:
    """The results of a directory that an earlier version wrote."""
    return infpop.load(OLD)


def test_trials_have_typed_columns_that_may_lack_values(old: infpop.Study) -> None:
    """Numbers are numbers, times are times in UTC, and an absent value is NA and never 0."""
    trials = old.trials
    assert len(trials) == 6
    types = {name: str(trials[name].dtype) for name in ("model", "gpu_count", "simulated", "started_at")}
    assert types == {
        "model": "string",
        "gpu_count": "Int64",
        "simulated": "boolean",
        "started_at": "datetime64[ns, UTC]",
    }
    assert trials.throughput_tokens_per_second.dtype == "Float64"
    failed = trials[trials.state == "Infeasible"].iloc[0]
    assert failed.throughput_tokens_per_second is pd.NA
    assert trials.throughput_tokens_per_second.max() == 1000.0
    assert trials.tokens_per_joule.isna().all()


def test_the_best_is_what_the_study_recommends(old: infpop.Study) -> None:
    """It is a value with the numbers of its trial."""
    best = old.best
    assert best is not None
    assert (best.gpu_count, best.batch_size, best.throughput_tokens_per_second) == (2, 8, 1000.0)
    assert best.throughput_per_gpu == 500.0


def test_the_best_of_several_pools_is_that_of_the_study(tmp_path: Path) -> None:
    """A study may recommend another trial than the fastest, for example the cheapest."""
    (tmp_path / "codellama.json").write_text(json.dumps(ended(objective={"metric": "throughputPerGPU"})))
    study = infpop.load(tmp_path / "codellama.json")
    assert study.best is not None
    status = ended(objective={"metric": "throughputPerGPU"})["status"]["best"]
    assert (study.best.pool, study.best.gpu_count, study.best.batch_size) == (
        status["pool"],
        status["gpuCount"],
        status["batchSize"],
    )
    assert study.trials[study.trials.is_best].pool.nunique() == 2


def test_a_landscape_is_a_table_of_batch_sizes_and_gpu_counts(old: infpop.Study) -> None:
    """A cell without a number is NA; any column with numbers can be shown."""
    landscape = old.landscape()
    assert (list(landscape.index), list(landscape.columns)) == ([4, 8, 16], [1, 2])
    assert (landscape.index.name, landscape.columns.name) == ("batch_size", "gpu_count")
    assert landscape.loc[8, 2] == 1000.0
    assert landscape.loc[16, 1] is pd.NA
    assert old.landscape(metric="throughput_tokens_per_second_per_gpu").loc[8, 2] == 500.0
    assert old.landscape("here").equals(landscape)


def test_a_landscape_has_what_was_not_tried() -> None:
    """Its rows and columns are those of the search space."""
    landscape = infpop.load(GOLDEN / "local-interrupted").landscape()
    assert landscape.shape == (3, 2)
    assert landscape.notna().sum().sum() == 1


def test_the_front_has_what_is_worth_choosing(old: infpop.Study) -> None:
    """More tokens/s, faster sequences or fewer GPUs: whatever is not there is beaten by something that is."""
    front = old.pareto()
    assert list(zip(front.gpu_count, front.batch_size, strict=True)) == [(2, 8), (1, 8), (2, 4), (1, 4)]
    assert front.throughput_tokens_per_second.is_monotonic_decreasing
    assert list(front.columns) == list(old.trials.columns)
    assert old.pareto("here").equals(front)


def test_a_heat_map_is_a_figure_that_can_be_saved(old: infpop.Study, tmp_path: Path) -> None:
    """It has its title, and nothing but the caller opens a window or writes a file."""
    figure = old.heatmap()
    assert figure.axes[0].get_title(loc="left").startswith("org/model, simulated on here")
    figure.savefig(tmp_path / "landscape.png")
    assert (tmp_path / "landscape.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="no trial has pool"):
        old.heatmap("there")


def test_rounds_say_why_they_began_and_what_they_gained(tmp_path: Path) -> None:
    """An archived round is one with `only`; without it the newest round counts."""
    (tmp_path / "codellama.json").write_text(json.dumps(retuned()))
    study = infpop.load(tmp_path / "codellama.json")
    rounds = study.rounds
    assert list(rounds["round"]) == [1, 2]
    assert rounds.improvement_percent.tolist() == pytest.approx([1614.8, 0.0])
    assert rounds.previous_gpu_model[1] == "Tesla-V100-SXM2-32GB"
    assert study.landscape().loc[256, 8] == pytest.approx(3940, abs=1)
    first = study.only(round=1)
    assert first.landscape().loc[256, 8] == pytest.approx(1970, abs=1)
    assert first.best is not None
    assert first.best.gpu_model == "Tesla-V100-SXM2-32GB"


def test_several_sources_are_one_study_with_a_source_column(tmp_path: Path) -> None:
    """What does not belong together is told apart before a landscape is drawn."""
    recorded = write_file(tmp_path, "V100,vllm,m,1,8,ok,10", "A100,vllm,m,1,8,ok,20", "A100,hf,m,1,8,ok,5")
    both = infpop.load(OLD, recorded)
    assert both.trials.source.nunique() == 2
    with pytest.raises(ValueError, match=r"several landscapes: choose one with only\(source=\.\.\.\)"):
        both.landscape()
    a100 = both.only(gpu_model="A100")
    with pytest.raises(ValueError, match=r"only\(engine=\.\.\.\)\. are 'vllm', 'hf'"):
        a100.landscape()
    assert a100.only(engine="vllm").landscape().loc[8, 1] == 20.0
    assert repr(a100) == "<infpop.Study landscapes: 2 trials>"


def test_what_cannot_be_chosen_is_named(old: infpop.Study) -> None:
    """The message has the columns, or the values that there are."""
    with pytest.raises(ValueError, match=r"no trial has pool 'there'. There are 'here'"):
        old.landscape("there")
    with pytest.raises(ValueError, match=r"speed is not a column of a trial. Use one such as source, study"):
        old.only(speed=1)
    with pytest.raises(ValueError, match=r"state is not a column of trials with numbers. Use one of: round, trial"):
        old.landscape(metric="state")


def test_a_study_in_progress_and_its_notes_are_visible() -> None:
    """A script can wait or warn."""
    study = infpop.load(GOLDEN / "local-interrupted")
    assert study.in_progress
    assert study.notes == (f"{GOLDEN / 'local-interrupted'}: the study was interrupted before its end.",)


def test_an_empty_study_has_empty_tables(tmp_path: Path) -> None:
    """With the same columns and types."""
    (tmp_path / "new.json").write_text(json.dumps(ended() | {"status": {}}))
    study = infpop.load(tmp_path / "new.json")
    assert study.trials.empty
    assert study.trials.gpu_count.dtype == "Int64"
    assert (study.best, len(study.rounds)) == (None, 0)
    with pytest.raises(ValueError, match="there are no trials yet"):
        study.landscape()


def test_a_study_on_a_cluster_is_loaded_inside_an_event_loop(tmp_path: Path) -> None:
    """A notebook has one, and a second cannot run in the same thread."""
    program = (
        "import asyncio, infpop, sys\n"
        "async def cell(): return infpop.load('study/codellama', kubeconfig=sys.argv[1])\n"
        "print(len(asyncio.run(cell()).trials))\n"
    )
    answers = {f"{STUDIES}/codellama": (200, ended())}
    with api_server(answers, tmp_path) as config:
        done = subprocess.run([sys.executable, "-c", program, config], capture_output=True, text=True, check=False)
    assert done.stdout == f"{len(ended()['status']['trials'])}\n", done.stderr


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "sys.modules['pandas'] = None; infpop.load(sys.argv[1]).trials",
            "trials needs pandas. Run: pip install '.[report]' in a checkout of InfPop",
        ),
        (
            "sys.modules['kubernetes'] = None; infpop.load('study/x')",
            "study/x needs kubernetes. Run: pip install '.[operator]' in a checkout of InfPop",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(program: str, message: str) -> None:
    """`import infpop` itself needs none of them, and neither does `best`."""
    whole = f"import sys, infpop; assert infpop.load(sys.argv[1]).best.gpu_count == 2; {program}"
    done = subprocess.run([sys.executable, "-c", whole, str(OLD)], capture_output=True, text=True, check=False)
    assert f"ImportError: {message}" in done.stderr


def test_only_what_is_promised_is_in_all() -> None:
    """Every name of `__all__` exists and has a docstring."""
    assert infpop.__all__ == sorted(infpop.__all__)
    for name in infpop.__all__:
        assert getattr(infpop, name).__doc__


def test_a_source_that_cannot_be_read_is_an_infpop_error(tmp_path: Path) -> None:
    """One class catches all of them."""
    with pytest.raises(infpop.InfPopError, match="does not exist"):
        infpop.load(tmp_path / "nowhere")
    with pytest.raises(infpop.InfPopError, match="line 2, column gpu_count: x:"):
        infpop.load(write_file(tmp_path, "V100,vllm,m,x,8,ok,10", header=HEADER))
