"""The user's views of a study: complete at 80 columns, and clear about what is unknown."""

import ast
import re
import shlex
from dataclasses import replace
from datetime import datetime
from functools import cache

import pytest

from factories.fake_executor import Played, play_landscape
from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.model import Finished, Run
from infpop_operator.core.recommend import best_of_study
from infpop_operator.core.study import Algorithm, Budget, Configuration, Constraint, Objective, SearchSpace, Study
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.report.plain_view import PlainView
from infpop_operator.report.rendering import render_live, render_page
from infpop_operator.report.serving import render_serving
from infpop_operator.report.words import duration, interval_text, number
from infpop_runner.contract import EngineSpec, ModelSpec, Provenance, RunSpec
from report.local_pages import keeper_of, page_of, pages_of
from report.played_studies import BATCHES, VLLM, printed, snapshots


@cache
def default_end() -> Snapshot:
    """Return the end of the default study, which most tests use."""
    return snapshots()[-1]


def report(width: int = 80, **changes: object) -> str:
    """Return the report of a study that was driven to its end."""
    end = snapshots(**changes)[-1] if changes else default_end()
    return printed(render_page(page_of(end)), width)


def serving(study: Study, cell: Configuration) -> str | None:
    """Return the serving advice if `cell` is the best of `study`."""
    return render_serving(
        study.engine.name, study.model.name, engine_args(engine_settings(study, study.pools[0]), cell)
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_largest_landscape_fits_without_a_broken_line(width: int) -> None:
    """11 batch sizes on 4 GPU counts: no line is wider than the terminal, and no cell is cut."""
    lines = report(width).splitlines()
    assert all(len(line) <= width for line in lines)
    rule = next(number for number, line in enumerate(lines) if line.startswith("──"))
    table = lines[rule + 1 : rule + 1 + len(BATCHES)]
    assert [line.split()[0] for line in table] == [str(batch) for batch in BATCHES]
    assert not any("…" in line for line in table)


def test_every_kind_of_cell_is_marked_and_explained() -> None:
    """Best, measured, infeasible, ruled out and broken differ in the table, and the legend says why."""
    text = report()
    for part in ("★ 98,765", "✗ memory", "- memory", "✗ heads", "! broken"):
        assert part in text, part
    for part in (
        "GpuOutOfMemory, tried, cannot work",
        "GpuOutOfMemory, not tried: certain",
        "Killed, the run gave no result",
    ):
        assert part in text, part


def test_cells_that_were_not_tried_are_dots() -> None:
    """A budget that ends early leaves gaps, not zeros."""
    text = report(budget=Budget(max_trials=3))
    assert "· not tried" in text
    assert " 0 " not in text


def test_broken_trials_are_listed_with_reason_detail_and_log() -> None:
    """The user learns what failed and where to read more."""
    text = report()
    assert "8 GPUs, batch size 4 (3 attempts)" in text
    assert "a very long detail" in text
    assert "log: out/runs/study-" in text


def test_the_report_says_what_was_found_and_what_it_cost() -> None:
    """Throughput, throughput per GPU, cost, spread, trials, the reason for the end, GPU-seconds."""
    text = report()
    for part in (
        "Configuration  8 GPUs, batch size 512",
        "Throughput     98,765 tokens/s (spread 0.0 % over 3 repeats)",
        "Per GPU        12,346 tokens/s",
        "at 3.6 per GPU and hour",
        "GPU-seconds",
        "SpaceExhausted",
    ):
        assert part in text, part


def test_a_best_within_the_noise_names_the_highest_too() -> None:
    """Fewer GPUs win a tie, and the report says that it was a tie."""

    def flat(gpu_count: int, batch_size: int) -> float:
        return 100.0 + gpu_count / 10 + batch_size / 1e6

    text = report(play=play_landscape(flat))
    assert "Configuration  1 GPU" in text
    assert "As good        8 GPUs" in text


def test_an_improvement_over_the_baseline_is_reported() -> None:
    """A user with a configuration in use reads the gain of changing it."""
    text = report(baseline=make_cell(1, 64))
    assert "Baseline       1 GPU, batch size 64: 1,543 tokens/s, improved by 6300.0 %" in text


def test_a_broken_constraint_is_marked() -> None:
    """A fast configuration that breaks a constraint is marked."""
    objective = Objective(constraints=(Constraint(metric="throughputPerGPU", maximum=5000.0),))
    text = report(objective=objective)
    assert "† breaks a constraint" in text
    assert "throughputPerGPU" in text


def test_a_number_that_cannot_be_compared_is_marked() -> None:
    """A configuration with an unknown required metric is shown with its throughput and the reason."""
    text = report(objective=Objective(metric="tokensPerJoule", power_metric="power"))
    assert re.search(r"\? lacks a required metric  \d+x: power missing: NoWindow", text)
    assert re.search(r"\? [\d,.]+", text)
    assert "No recommendation" in text


def test_replayed_numbers_are_labelled() -> None:
    """A replay is labelled as one, during the study and afterwards."""
    shown = snapshots(engine=make_study().engine)
    for picture in (render_page(page_of(shown[-1])), render_live(page_of(shown[1]).picture)):
        assert "SIMULATED: these numbers are replayed" in printed(picture)
    assert "SIMULATED" not in report()


def test_ranks_on_a_cpu_are_not_called_gpus() -> None:
    """If the device is a CPU, the report says so everywhere."""
    text = report(pools=(make_pool(device="cpu", gpu_model="AMD EPYC"),))
    assert "number of CPU ranks (across)" in text
    assert "Per CPU rank" in text
    assert "CPU rank-seconds" in text
    assert "GPU, batch" not in text


def test_several_pools_are_distinguished_and_compared() -> None:
    """Each pool has its own landscape, and the overall best is named with its pool."""

    def by_pool(run: Run, spec: RunSpec, now: datetime) -> Played:
        factor = 2.0 if run.pool == "b" else 1.0
        return play_landscape(lambda gpus, batch: factor * gpus * batch)(run, spec, now)

    pools = (make_pool(name="a"), make_pool(name="b", gpu_model="V100"))
    space = SearchSpace(gpu_counts=(1,), batch_sizes=(1, 2))
    shown = snapshots(by_pool, pools=pools, space=space)
    text = printed(render_page(page_of(shown[-1])))
    assert "Pool a" in text
    assert "Pool           b: V100" in text
    best = best_of_study(shown[-1].study, shown[-1].decision.history)
    assert best is not None
    assert best[0].name == "b"


def test_a_missing_recommendation_is_reported_without_numbers() -> None:
    """The report has no best, no command to copy, and the reason why."""
    text = report(play=play_landscape(lambda _gpus, _batch: "GpuOutOfMemory"))
    assert "No recommendation" in text
    assert "Ready to copy" not in text
    assert "★" not in text


def test_a_study_that_broke_off_shows_its_best_so_far_as_such() -> None:
    """Too many failures end the study, but earlier measurements are still shown."""

    def soon_breaking(run: Run, spec: RunSpec, now: datetime) -> Played:
        if run.trials[0].index > 3:
            return Played(seconds=1, outcome="Killed")
        return play_landscape(lambda gpus, batch: float(gpus * batch))(run, spec, now)

    text = report(play=soon_breaking, budget=Budget(max_failed_trials=1))
    assert "Stopped early: best so far" in text
    assert "TooManyFailures" in text
    assert "Configuration" in text
    assert "No recommendation" not in text


def test_the_context_length_that_was_measured_is_reported() -> None:
    """A user with longer prompts than were measured learns that the batch size may not fit."""

    def recorded(run: Run, spec: RunSpec, now: datetime) -> Played:
        played = play_landscape(lambda gpus, batch: float(gpus * batch))(run, spec, now)
        assert not isinstance(played.outcome, str)
        provenance = Provenance(engine="vllm", engine_args={"max_model_len": 612})
        return Played(seconds=1, outcome=played.outcome.model_copy(update={"provenance": provenance}))

    told = (
        "Measured with --max-model-len=612: longer requests are refused, and a longer context leaves less room for the"
    )
    assert told in report(120, play=recorded)
    assert "  --max-model-len=612 \\\n" in report(120, play=recorded)
    assert "--max-model-len" not in report()


def test_the_command_to_copy_is_one_shell_command() -> None:
    """The lines of the report, pasted into a shell, are the model and its arguments, whatever the model's name."""
    study = make_study(engine=VLLM, model=ModelSpec(name="/models/my model; rm -rf"))
    text = serving(study, make_cell(2, 64, enable_x=True))
    assert text is not None
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:3] == ["vllm", "serve", "/models/my model; rm -rf"]
    assert {"--tensor-parallel-size=2", "--max-num-seqs=64", "--enable-x"} <= set(words)


def test_the_program_to_copy_is_python() -> None:
    """A Hugging Face pipeline is shown as a program that parses, with the recommended batch size."""
    study = make_study(engine=EngineSpec(name="hf-pipeline"), model=ModelSpec(name='odd"name'))
    text = serving(study, make_cell(2, 64))
    assert text is not None
    call = ast.parse(text).body[1]
    assert isinstance(call, ast.Assign)
    assert isinstance(call.value, ast.Call)
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.value.keywords}
    assert given["model"] == 'odd"name'
    assert (given["batch_size"], given["device_map"]) == (64, "auto")


def test_plain_lines_report_each_change_once() -> None:
    """There is one line for each start, result, failed attempt and end; the same page twice adds nothing."""
    lines: list[str] = []
    view = PlainView(lines.append)
    shown = snapshots(space=SearchSpace(gpu_counts=(1, 2), batch_sizes=(1, 2)))
    for snapshot, page in zip(shown, pages_of(shown), strict=True):
        view.show(page, snapshot.now)
        view.show(page, snapshot.now)
    text = "\n".join(lines)
    assert len(lines) == len(set(lines))
    attempts = len(shown[-1].decision.history.ended)
    killed = [line for line in lines if line.endswith(": Killed") or ": Killed again, log: " in line]
    assert text.count(": starting") + text.count(": measuring") >= attempts
    assert text.count("tokens/s") + text.count("cannot work") + len(killed) == attempts
    assert "(attempt 2)" in text
    assert "Succeeded: SpaceExhausted" in lines[-1]


def test_runs_that_ended_unwatched_are_reported_first() -> None:
    """After a resume, runs that an earlier process left are listed, and those that it had listed are only counted."""
    shown = snapshots(space=SearchSpace(gpu_counts=(1,), batch_sizes=(1, 8)))
    last = replace(shown[-1], earlier=1)
    assert len(last.decision.history.ended) == 2
    lines: list[str] = []
    view, keeper = PlainView(lines.append), keeper_of(last.study)
    keeper.save(last)
    view.show(keeper.page_as_resumed(last), last.now)
    view.show(keeper.page(last, {}), last.now)
    assert any(line.endswith("1 of up to 2 trials are done") for line in lines)
    assert sum("tokens/s" in line for line in lines) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_every_instant_of_the_live_view_fits(width: int) -> None:
    """No line is wider than the terminal, from the study's first instant to its last."""
    shown = snapshots(model=ModelSpec(name="organisation/" + "long-name-" * 20))
    for page in pages_of(shown)[::5]:
        text = printed(render_live(page.picture), width)
        assert all(len(line) <= width for line in text.splitlines())


def test_the_live_view_shows_a_shared_load_trial_by_trial() -> None:
    """The first number of a load that serves several trials is shown while the others are measured."""
    shown = snapshots(
        play_landscape(lambda gpus, batch: float(1000 * gpus * batch)),
        space=SearchSpace(gpu_counts=(1,), batch_sizes=(1, 8)),
        algorithm=Algorithm(name="grid", trials_per_run=2),
    )
    (end,) = shown[-1].decision.history.ended
    assert isinstance(end.observation, Finished)
    live = next(snapshot for snapshot in shown if snapshot.decision.history.active)
    assert "best so far" not in printed(render_live(page_of(live).picture))
    first = end.observation.result.model_copy(update={"trials": end.observation.result.trials[:1], "ended_at": None})
    text = printed(render_live(page_of(live, {end.run.name: first}).picture))
    assert "best so far: 1 GPU, batch size 1: 1,000 tokens/s" in text
    assert "1 of up to 2 trials" in text
    assert "1 GPU, batch size 8" in text
    whole = printed(render_live(page_of(live, {end.run.name: end.observation.result}).picture))
    assert "2 of up to 2 trials" in whole


@pytest.mark.parametrize(
    ("value", "text"),
    [(123456.7, "123,457"), (1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")],
)
def test_numbers_keep_what_can_be_compared(value: float, text: str) -> None:
    """Numbers have three to five significant digits and thousands separators."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (61.9, "1:01"), (3600, "1:00:00"), (-1, "0:00"), (172_799, "47:59:59"), (180_000, "2d 2h")],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    """Minutes and seconds, hours from one hour on, and days where seconds no longer matter."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("interval", "shown"),
    [("3964 to 4050", "3,964 to 4,050"), ("812 to 830", "812 to 830"), ("9.8 to 10.2", "9.8 to 10.2"), ("no", "no")],
)
def test_an_interval_is_written_as_its_number_is(interval: str, shown: str) -> None:
    """Thousands are separated on both sides."""
    assert interval_text(interval) == shown
