"""A study's progress on a terminal: a bar, the live runs, and the landscape as far as it is known."""

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import EndedRun, Finished, Pool, Running, StartedRun, TrialState
from infpop_operator.core.recommend import best_of_study
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.space import cells
from infpop_operator.report.final import SIMULATED
from infpop_operator.report.landscape_table import pool_landscape, render_landscape
from infpop_operator.report.plain import seen_text
from infpop_operator.report.snapshot import Snapshot
from infpop_operator.report.words import configuration_text, duration, number
from infpop_runner.contract import Measured

_BAR_WIDTH = 30


class LiveView:
    """Redraws the newest snapshot in place on `console` until it is closed, and leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        """Draw `snapshot`."""
        self._live.update(render_live(snapshot), refresh=True)

    def announce(self, text: str) -> None:
        """Write a line above the picture."""
        self._live.console.print(Text(text, style="yellow"))

    def close(self) -> None:
        """Remove the picture and give the terminal back."""
        self._live.stop()


def render_live(snapshot: Snapshot) -> RenderableType:
    """Return the picture of one instant."""
    snapshot = _with_partial_results(snapshot)
    return Group(*_header(snapshot), *_runs(snapshot), *_landscapes(snapshot), Text(snapshot.decision.message, "dim"))


def _with_partial_results(snapshot: Snapshot) -> Snapshot:
    """Show the trials that a shared load has behind it as if they had been a run of their own."""
    history = snapshot.decision.history
    ended, active = list(history.ended), []
    for entry in history.active:
        result = snapshot.partial.get(entry.run.name)
        found = {trial.index for trial in result.trials} if result is not None else set()
        done = tuple(trial for trial in entry.run.trials if trial.index in found)
        left = tuple(trial for trial in entry.run.trials if trial.index not in found)
        if result is not None and done:
            observation = Finished(result=result.model_copy(update={"broken": None}), ended_at=snapshot.now)
            run = replace(entry.run, trials=done)
            ended.append(EndedRun(run=run, started_at=entry.started_at, observation=observation))
        if left:
            active.append(replace(entry, run=replace(entry.run, trials=left)))
    shown = replace(history, ended=tuple(ended), active=tuple(active))
    return replace(snapshot, decision=replace(snapshot.decision, history=shown))


def _header(snapshot: Snapshot) -> Iterator[RenderableType]:
    study = snapshot.study
    yield Text(f"{study.name}: {study.engine.name}, {study.model.name}", "bold", no_wrap=True, overflow="ellipsis")
    if study.engine.name == "simulated":
        yield Text(SIMULATED, style="yellow", no_wrap=True, overflow="ellipsis")
    done, total = _progress(snapshot)
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row(ProgressBar(total=max(1, total), completed=done, width=_BAR_WIDTH), f"{done} of up to {total} trials")
    yield line
    best = best_of_study(snapshot.study, snapshot.decision.history)
    if best is not None and isinstance(best[1].result, Measured):
        shown = configuration_text(study, best[0], best[1].configuration)
        yield Text(f"best so far: {shown}: {number(best[1].result.throughput_tokens_per_second)} tokens/s", "green")


def _progress(snapshot: Snapshot) -> tuple[int, int]:
    study, done, total = snapshot.study, 0, 0
    most = min(study.budget.max_trials, len(cells(study.space)))
    for pool in study.pools:
        newest = current_round(snapshot.decision.history, pool.name)
        if newest is not None:
            trials = trials_of(snapshot.decision.history, pool.name, newest.number)
            done += sum(trial.state is not TrialState.RUNNING for trial in trials)
        total += most
    done += sum(_passed(snapshot, entry) for entry in snapshot.decision.history.active)
    return done, max(done, total)


def _passed(snapshot: Snapshot, entry: StartedRun) -> int:
    """Return how many trials a live run has behind it: it takes them in ascending batch size."""
    seen = snapshot.observations.get(entry.run.name)
    order = [trial.index for trial in sorted(entry.run.trials, key=lambda trial: trial.configuration.batch_size)]
    return order.index(seen.trial_index) if isinstance(seen, Running) and seen.trial_index in order else 0


def _runs(snapshot: Snapshot) -> Iterator[Text]:
    for entry in snapshot.decision.history.active:
        yield Text(_run(snapshot, entry), "cyan", no_wrap=True, overflow="ellipsis")


def _run(snapshot: Snapshot, entry: StartedRun) -> str:
    pool = pool_named(snapshot.study, entry.run.pool)
    seen = seen_text(entry.run, snapshot.observations.get(entry.run.name)) or "starting"
    elapsed = duration((snapshot.now - entry.started_at).total_seconds())
    batches = ", ".join(str(trial.configuration.batch_size) for trial in entry.run.trials)
    shown = configuration_text(snapshot.study, pool, entry.run.trials[0].configuration)
    more = f" (batch sizes {batches})" if len(entry.run.trials) > 1 else ""
    return f"{elapsed}  {shown}{more}: {seen}"


def _landscapes(snapshot: Snapshot) -> Iterator[RenderableType]:
    for pool in snapshot.study.pools:
        yield from _landscape(snapshot, pool)


def _landscape(snapshot: Snapshot, pool: Pool) -> Iterator[RenderableType]:
    picture = pool_landscape(snapshot.study, pool, snapshot.decision.history)
    if picture is not None:
        yield render_landscape(snapshot.study, pool, picture)
