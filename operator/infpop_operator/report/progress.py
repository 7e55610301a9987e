"""The picture of a study that is tuned by this process: from its history and from what is seen of its runs."""

from collections.abc import Iterator
from dataclasses import replace

from infpop_operator.core.history import current_round, trials_of
from infpop_operator.core.model import EndedRun, Finished, Running, StartedRun, TrialState
from infpop_operator.core.recommend import best_of_study
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.space import cells
from infpop_operator.report.landscape_table import pool_landscape
from infpop_operator.report.picture import Picture, PoolPicture, RunPicture
from infpop_operator.report.plain import seen_text
from infpop_operator.report.snapshot import Snapshot
from infpop_operator.report.words import configuration_text, device_word, number, on_one_line
from infpop_runner.contract import Measured


def picture_of(snapshot: Snapshot) -> Picture:
    """Return the picture of one instant."""
    snapshot = _with_partial_results(snapshot)
    study = snapshot.study
    done, most = _progress(snapshot)
    return Picture(
        title=on_one_line(f"{study.name}: {study.engine.name}, {study.model.name}"),
        is_simulated=study.engine.name == "simulated",
        trials_done=done,
        trials_most=most,
        best=_best(snapshot),
        runs=tuple(_run(snapshot, entry) for entry in snapshot.decision.history.active),
        pools=tuple(_pools(snapshot)),
        message=snapshot.decision.message,
    )


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


def _best(snapshot: Snapshot) -> str | None:
    best = best_of_study(snapshot.study, snapshot.decision.history)
    if best is None or not isinstance(best[1].result, Measured):
        return None
    shown = configuration_text(snapshot.study, best[0], best[1].configuration)
    return on_one_line(f"{shown}: {number(best[1].result.throughput_tokens_per_second)} tokens/s")


def _run(snapshot: Snapshot, entry: StartedRun) -> RunPicture:
    pool = pool_named(snapshot.study, entry.run.pool)
    batches = ", ".join(str(trial.configuration.batch_size) for trial in entry.run.trials)
    shown = configuration_text(snapshot.study, pool, entry.run.trials[0].configuration)
    more = f" (batch sizes {batches})" if len(entry.run.trials) > 1 else ""
    return RunPicture(
        name=entry.run.name,
        what=on_one_line(shown + more),
        state=seen_text(entry.run, snapshot.observations.get(entry.run.name)) or "starting",
        seconds=(snapshot.now - entry.started_at).total_seconds(),
    )


def _pools(snapshot: Snapshot) -> Iterator[PoolPicture]:
    study = snapshot.study
    for pool in study.pools:
        yield PoolPicture(
            name=pool.name,
            device=device_word(study, pool),
            title=f"Pool {pool.name}" if len(study.pools) > 1 else "",
            landscape=pool_landscape(study, pool, snapshot.decision.history),
        )
