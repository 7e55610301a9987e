"""Results of one or several studies: tables, the recommendation, landscapes and pictures."""

import importlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from infpop_operator.adapters.result_sources import ON_CLUSTER, read_all
from infpop_operator.analysis.rows import ResultTable, TrialResultRow
from infpop_operator.core.installing import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_SHOWN = 5
_KEY = ("source", "study", "model", "engine", "gpu_model", "pool", "workload", "round")  # of one landscape


def load(
    source: str | PathLike[str],
    *more: str | PathLike[str],
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | None = None,
) -> "Study":
    """Return the results in one or several sources; nothing is started, locked or changed.

    Args:
        source: a directory of `infpop tune`, its `status.json`, a study as JSON, `study/NAME` or
            `study/NAMESPACE/NAME` on a cluster, or a CSV file of recorded cells or of `infpop export`.
        more: further sources, whose trials come after those of the first.
        namespace: of studies on a cluster; by default that of the context.
        context: of the kubeconfig.
        kubeconfig: its path; by default as for kubectl.

    Raises:
        InfPopError: a source does not exist, or cannot be understood; the message names what to do.
        ImportError: a study on a cluster needs the extra `operator`.
    """
    sources = [str(each) for each in (source, *more)]
    try:
        return Study(read_all(sources, namespace=namespace, context=context, kubeconfig=kubeconfig))
    except ModuleNotFoundError as error:
        needed = f"{_first_on_cluster(sources)} needs {(error.name or '').partition('.')[0]}"
        message = f"{needed}. Run: {install_command('operator')}"
        raise ImportError(message, name=error.name) from error


class Study:
    """The results that `load` has read. It is a snapshot: a study that goes on is loaded again.

    Attributes:
        notes: what could not be read and what the reader must know, one sentence each.
        in_progress: whether a study among them has not ended.
    """

    def __init__(self, table: ResultTable) -> None:
        """Use `infpop.load` or `infpop.tune`; the table is internal."""
        self._table = table
        self.notes: tuple[str, ...] = table.notes
        self.in_progress: bool = bool(table.in_progress)

    def __repr__(self) -> str:
        names = ", ".join(dict.fromkeys(row.study for row in self._table.trials))
        state = ", in progress" if self.in_progress else ""
        return f"<infpop.Study {names or 'without trials'}: {len(self._table.trials)} trials{state}>"

    @cached_property
    def trials(self) -> "DataFrame":
        """One row for each trial, in columns of nullable types; docs/exports.md describes them."""
        frames = _frames("trials")
        found: DataFrame = frames.trials_frame(self._table.trials)
        return found

    @cached_property
    def rounds(self) -> "DataFrame":
        """One row for each round of each pool: why it began, its baseline, its best and the improvement."""
        frames = _frames("rounds")
        found: DataFrame = frames.rounds_frame(self._table.rounds)
        return found

    @property
    def best(self) -> TrialResultRow | None:
        """What the study recommends, None while it has nothing to recommend.

        Of several studies, pools or landscapes it is the recommended trial with the most tokens/s among those of the
        newest rounds; `trials[trials.is_best]` has all of them.
        """
        newest = _newest_rounds(self._table.trials)
        own = [row for row in newest if row.is_best and row.throughput_tokens_per_second is not None]
        chosen = [row for row in own if _place(row) in self._table.recommended]
        return max(chosen or own, key=lambda row: row.throughput_tokens_per_second or 0.0, default=None)

    def only(self, **values: object) -> "Study":
        """Return the part whose trials have these values in these columns: `only(gpu_model="A100", engine="vllm")`.

        Raises:
            ValueError: there is no such column, or no trial with these values; the message names what there is.
        """
        trials: Sequence[TrialResultRow] = self._table.trials
        for column, value in values.items():
            if column not in TrialResultRow.__dataclass_fields__:
                raise ValueError(f"{column} is not a column of a trial. Use one such as {', '.join(_KEY)}.")
            found = [row for row in trials if getattr(row, column) == value]
            if not found:
                raise ValueError(
                    f"no trial has {column} {value!r}. There {_listed(getattr(r, column) for r in trials)}."
                )
            trials = found
        return Study(_part(self._table, trials))

    def landscape(self, pool: str | None = None, *, metric: str = "throughput_tokens_per_second") -> "DataFrame":
        """Return the newest round of a pool as a table: batch sizes down, GPU counts across.

        A cell without a number is NA. Of several trials in one cell (they differ in extra parameters) it has the best.

        Args:
            pool: name of the pool; None if there is only one.
            metric: a column of `trials` with numbers, such as `throughput_tokens_per_second_per_gpu`.

        Raises:
            ValueError: there are several landscapes: choose one with `only`; or no such column.
        """
        frames = _frames("landscape()")
        found: DataFrame = frames.landscape_frame(self._one_landscape(pool), metric)
        return found

    def pareto(self, pool: str | None = None) -> "DataFrame":
        """Return the trials worth choosing from, the highest throughput first, with the columns of `trials`.

        No other trial of the same landscape has more tokens/s, a shorter time per output token and no more GPUs. Where
        the engine reported no times, the time per output token is the batch size divided by the throughput.

        Args:
            pool: name of the pool; None for all landscapes, each with its own front.
        """
        frames = _frames("pareto()")
        table = self._table if pool is None else self.only(pool=pool)._table  # noqa: SLF001 - its own
        found: DataFrame = frames.pareto_frame(_part(table, _newest_rounds(table.trials)))
        return found

    def heatmap(self, pool: str | None = None) -> "Figure":
        """Return the newest round of a pool as a matplotlib figure, in tokens/s; `savefig` writes it.

        Args:
            pool: name of the pool; None if there is only one.

        Raises:
            ValueError: there are several landscapes: choose one with `only`.
        """
        pictures = _module("infpop.pictures", "heatmap()")
        found: Figure = pictures.heatmap(self._one_landscape(pool))
        return found

    def _one_landscape(self, pool: str | None) -> ResultTable:
        table = self._table if pool is None else self.only(pool=pool)._table  # noqa: SLF001 - its own
        rows = _newest_rounds(table.trials)
        if not rows:
            raise ValueError("there are no trials yet, so there is no landscape")
        for column in _KEY:
            values = list(dict.fromkeys(getattr(row, column) for row in rows))
            if len(values) > 1:
                raise ValueError(
                    f"there are several landscapes: choose one with only({column}=...). {_listed(values)}."
                )
        return _part(table, rows)


def _first_on_cluster(sources: Sequence[str]) -> str:
    return next((source for source in sources if source.startswith(ON_CLUSTER)), sources[0])


def _part(table: ResultTable, trials: Iterable[TrialResultRow]) -> ResultTable:
    """Return the table of some of its trials, with what belongs to their rounds."""
    trials = tuple(trials)
    rounds = {(row.source, row.study, row.pool, row.round) for row in trials}
    sources = {row.source for row in trials}
    return ResultTable(
        trials=trials,
        rounds=tuple(row for row in table.rounds if (row.source, row.study, row.pool, row.round) in rounds),
        cells=tuple(row for row in table.cells if (row.source, row.study, row.pool, row.round) in rounds),
        in_progress=tuple(source for source in table.in_progress if source in sources),
        recommended=table.recommended,
        notes=table.notes,
    )


def _newest_rounds(rows: Sequence[TrialResultRow]) -> tuple[TrialResultRow, ...]:
    newest: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.source, row.study, row.pool)
        newest[key] = max(row.round, newest.get(key, 0))
    return tuple(row for row in rows if row.round == newest[row.source, row.study, row.pool])


def _place(row: TrialResultRow) -> tuple[str, str, int, int]:
    return (row.source, row.pool, row.round, row.trial)


def _listed(values: Iterable[object]) -> str:
    known = [repr(value) for value in dict.fromkeys(values)]
    return f"are {', '.join(known[:_SHOWN])}{' and more' if len(known) > _SHOWN else ''}"


def _frames(what: str) -> Any:  # noqa: ANN401 - a module
    return _module("infpop.frames", what)


def _module(name: str, what: str) -> Any:  # noqa: ANN401 - a module
    """Return a module that needs the extra `report`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in {"pandas", "matplotlib", "numpy"}:
            message = f"{what} needs {error.name}. Run: {install_command('report')}"
            raise ImportError(message, name=error.name) from error
        raise
