"""The last word on a study: landscape, best configuration, what it cost, what broke, what to copy."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from infpop_operator.core import objective
from infpop_operator.core.history import current_round, gpu_seconds
from infpop_operator.core.model import Finished, Pool, Scalar, Study, Trial, TrialState, Verdict
from infpop_operator.core.recommend import (
    best_of_study,
    improvement_ratio,
    measurement,
    newest_trials,
    trial_loss,
)
from infpop_operator.core.scope import baseline_of, current_trials
from infpop_operator.report.conclusion import FOUND, NOTHING, STOPPED_EARLY, Conclusion, render_conclusion
from infpop_operator.report.landscape_table import pool_landscape, render_landscape, render_legend
from infpop_operator.report.serving import render_serving
from infpop_operator.report.snapshot import Snapshot
from infpop_operator.report.words import SIMULATED, configuration_text, count, device_word, number, percent, why
from infpop_runner.contract import Measured

_WANTED = {"Interrupted", "Stopped"}  # ends that somebody asked for: nothing to look into
_DETAIL_LENGTH = 300  # four lines of a terminal; the log has the rest
_TITLES = {
    Verdict.SUCCEEDED: FOUND,
    Verdict.STALLED: NOTHING,
    Verdict.WAITING: ("Stopped before the end", "bold yellow"),
    Verdict.RUNNING: ("Still working", "bold cyan"),
}


def render_report(snapshot: Snapshot, directory: Path) -> RenderableType:
    """Return the whole report; `directory` is where the study's files are, for the paths of logs."""
    pools = snapshot.study.pools
    parts: list[RenderableType] = [Text("")]
    if snapshot.study.engine.name == "simulated":
        parts += [Text(SIMULATED, style="bold yellow"), Text("")]
    for pool in pools:
        parts += [*_pool(snapshot, pool, several=len(pools) > 1), Text("")]
    parts += [*_broken(snapshot, directory), render_conclusion(_conclusion(snapshot, directory))]
    return Group(*parts)


def _pool(snapshot: Snapshot, pool: Pool, *, several: bool) -> Iterator[RenderableType]:
    picture = pool_landscape(snapshot.study, pool, snapshot.decision.history)
    if picture is None:
        return
    if several:
        yield Text(f"Pool {pool.name}", style="bold underline")
    yield render_landscape(picture, device_word(snapshot.study, pool))
    yield render_legend(picture)


def _conclusion(snapshot: Snapshot, directory: Path) -> Conclusion:
    best = best_of_study(snapshot.study, snapshot.decision.history)
    stopped_early = best is not None and snapshot.decision.verdict is Verdict.STALLED
    title, style = STOPPED_EARLY if stopped_early else _TITLES[snapshot.decision.verdict]
    serving = None if best is None else render_serving(snapshot.study, best[1].configuration)
    return Conclusion(
        title=title,
        style=style,
        facts=(*_best_facts(snapshot, best), *_search_facts(snapshot, directory)),
        serving=serving,
        note=None if best is None or serving is None else _context_note(snapshot, best[1], serving),
    )


def _best_facts(snapshot: Snapshot, best: tuple[Pool, Trial] | None) -> Iterator[tuple[str, str]]:
    if best is None:
        return
    study, (pool, trial) = snapshot.study, best
    measured, gpus, word = measurement(trial), trial.configuration.gpu_count, device_word(study, pool)
    tokens = measured.throughput_tokens_per_second
    yield ("Configuration", configuration_text(study, pool, trial.configuration))
    yield ("Pool", pool.name if pool.gpu_model is None else f"{pool.name}: {pool.gpu_model}")
    spread = f"spread {percent(measured.spread_ratio)} over {measured.repeats} repeats"
    yield ("Throughput", f"{number(tokens)} tokens/s ({spread})")
    yield (f"Per {word}", f"{number(tokens / gpus)} tokens/s")
    if pool.price_per_gpu_hour is not None:
        cost = objective.cost_per_million_tokens(measured, gpus, pool.price_per_gpu_hour)
        yield ("Cost", f"{number(cost)} per million tokens, at {pool.price_per_gpu_hour:g} per {word} and hour")
    yield from _comparisons(snapshot, pool, trial)


def _comparisons(snapshot: Snapshot, pool: Pool, best: Trial) -> Iterator[tuple[str, str]]:
    study, trials = snapshot.study, current_trials(snapshot.study, pool, snapshot.decision.history)
    newest = current_round(snapshot.decision.history, pool.name)
    baseline = next((trial for trial in trials if newest and trial.configuration == baseline_of(study, newest)), None)
    if baseline is not None:
        yield ("Baseline", _against_baseline(study, pool, best, baseline))
    measured = [trial for trial in trials if isinstance(trial.result, Measured)]
    highest = min(
        objective.eligible(study, pool, measured), key=lambda trial: trial_loss(study, pool, trial), default=best
    )
    if highest.configuration != best.configuration:
        value = number(measurement(highest).throughput_tokens_per_second)
        shown = configuration_text(study, pool, highest.configuration)
        tie = percent(objective.TIE_RATIO)
        yield ("As good", f"{shown}: {value} tokens/s, within the {tie} that repeats differ by; fewer devices win")


def _against_baseline(study: Study, pool: Pool, best: Trial, baseline: Trial) -> str:
    shown = configuration_text(study, pool, baseline.configuration)
    if not isinstance(baseline.result, Measured):
        return f"{shown}: not measured ({baseline.reason or baseline.state.value})"
    tokens = f"{shown}: {number(baseline.result.throughput_tokens_per_second)} tokens/s"
    ratio = improvement_ratio(study, pool, new=best, old=baseline)
    return tokens if ratio is None else f"{tokens}, improved by {percent(ratio)} ({study.objective.metric})"


def _search_facts(snapshot: Snapshot, directory: Path) -> Iterator[tuple[str, str]]:
    decision, study = snapshot.decision, snapshot.study
    trials = [trial for pool in study.pools for trial in newest_trials(snapshot.decision.history, pool)]
    states = [f"{amount} {state.value.lower()}" for state in TrialState if (amount := _count(trials, state))]
    yield ("Trials", f"{len(trials)}: {', '.join(states)}" if trials else "none")
    yield ("Ended because", why(decision))
    word = device_word(study, study.pools[0])
    seconds = f"{number(gpu_seconds(decision.history, snapshot.now))} {word}-seconds"
    yield ("Spent", f"{seconds} of replaying" if study.engine.name == "simulated" else seconds)
    yield ("Files", str(directory))


def _count(trials: list[Trial], state: TrialState) -> int:
    return sum(trial.state is state for trial in trials)


def _broken(snapshot: Snapshot, directory: Path) -> Iterator[RenderableType]:
    broken = [
        (pool, trial)
        for pool in snapshot.study.pools
        for trial in newest_trials(snapshot.decision.history, pool)
        if trial.state is TrialState.BROKEN and trial.reason not in _WANTED
    ]
    if not broken:
        return
    yield Text("Broken trials: their runs failed, they say nothing about the configuration", style="bold magenta")
    for pool, trial in broken:
        what = configuration_text(snapshot.study, pool, trial.configuration)
        yield Text(f"  {what}: {trial.reason} after {count(trial.attempts, 'attempt')}")
        if trial.detail:
            yield Padding(Text(shorten(trial.detail, _DETAIL_LENGTH, placeholder=" ..."), style="dim"), (0, 0, 0, 4))
        yield Text(f"    log: {directory / 'runs' / trial.run / 'log.txt'}", overflow="fold")
    yield Text("")


def _context_note(snapshot: Snapshot, trial: Trial, serving: str) -> str | None:
    length = _context_length(snapshot, trial)
    if length is None or "--max-model-len" in serving:
        return None
    return f"Measured with --max-model-len={length}; longer contexts leave less room for the batch."


def _context_length(snapshot: Snapshot, trial: Trial) -> Scalar | None:
    """Return the context length that vLLM was loaded for when it measured `trial`, None where the run did not say."""
    if snapshot.study.engine.name != "vllm":
        return None
    for ended in snapshot.decision.history.ended:
        if ended.run.name == trial.run and isinstance(ended.observation, Finished):
            return ended.observation.result.provenance.engine_args.get("max_model_len")
    return None
