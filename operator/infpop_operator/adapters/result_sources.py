"""Read results from wherever they are: a result directory, a status, a study on a cluster, or recorded landscapes.

The Kubernetes client is loaded only for a study on a cluster.
"""

import importlib
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from infpop_operator.adapters.found_study import (
    NAME_A_SOURCE,
    FoundStudy,
    find_in_directory,
    find_in_json,
    read_json,
    source_error,
)
from infpop_operator.analysis.exported_trials import exported_trials, is_trial_table
from infpop_operator.analysis.landscape_csv import landscape_rows, parse_landscape
from infpop_operator.analysis.rows import ResultTable, TrialResultRow
from infpop_operator.analysis.study_rows import study_table
from infpop_operator.core.errors import ResultError

ON_CLUSTER = "study/"
_YAML = {".yaml", ".yml"}
_RoundKey = tuple[str, str, str, int]  # source, study, pool and round


def read_all(
    sources: Iterable[str],
    *,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | None = None,
) -> ResultTable:
    """Return the rows of several sources, in their order; a source that is named twice counts once.

    Two studies of one name stay apart by their source, and a note says so.

    Raises:
        InfPopError: as `read_results`; one source that cannot be read fails all. Two sources have the same round of a
            study, because one is an export of the other.
    """
    names = tuple(dict.fromkeys(sources))
    cluster = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    on_cluster = any(name.startswith(ON_CLUSTER) for name in names)
    if not on_cluster:
        _refuse_options(", ".join(names), cluster)
    read = [read_results(name, **(cluster if name.startswith(ON_CLUSTER) else {})) for name in names]
    tables = _told_apart(names, read)
    return ResultTable(
        trials=tuple(row for table in tables for row in table.trials),
        rounds=tuple(row for table in tables for row in table.rounds),
        cells=tuple(row for table in tables for row in table.cells),
        recommended=tuple(place for table in tables for place in table.recommended),
        in_progress=tuple(name for table in tables for name in table.in_progress),
        notes=(*(note for table in tables for note in table.notes), *_about_names(tables)),
    )


def read_results(
    source: str,
    *,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | None = None,
) -> ResultTable:
    """Return the rows of one source.

    Args:
        source: a directory of `infpop tune`, its `status.json`, a study as JSON, `study/NAME` or `study/NAMESPACE/NAME`
            on a cluster, or a CSV file of recorded cells, or of trials as `infpop export` writes them.
        namespace: of a study on a cluster, None for that of the context.
        context: of the kubeconfig.
        kubeconfig: its path, None as for kubectl.

    Raises:
        ResultError: there is no such source, or it cannot be understood.
        StoreError: the directory was written by a newer version.
        ConnectionConfigError: no connection to a cluster is configured.
        NoAnswerError: the API server gives no answer at the moment.
        ReadError: the study does not exist, or the account may not read it.
        UnreadableError: the status has a form that this version cannot read.
    """
    path = Path(source)
    if not source.startswith(ON_CLUSTER) and _kind(path) == "csv":
        _refuse_options(source, {"namespace": namespace, "context": context, "kubeconfig": kubeconfig})
        text = _read(path)
        if is_trial_table(text):
            return ResultTable(trials=exported_trials(text, source))
        return ResultTable(trials=landscape_rows(parse_landscape(text, source), source))
    found = find_study(source, namespace=namespace, context=context, kubeconfig=kubeconfig)
    return study_table(found.study, found.history, found.source, found.notes)


def find_study(
    source: str,
    *,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | None = None,
) -> FoundStudy:
    """Return the one study in a source; arguments and errors are those of `read_results`.

    A CSV file has no study: that is a ResultError.
    """
    cluster = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    if source.startswith(ON_CLUSTER):
        reader = importlib.import_module("infpop_operator.adapters.kube.study_results")
        found: FoundStudy = reader.find_on_cluster(source.removeprefix(ON_CLUSTER), **cluster)
        return found
    _refuse_options(source, cluster)
    path = Path(source)
    match _kind(path):
        case "directory":
            return find_in_directory(path)
        case "csv":
            message = "holds recorded cells or exported trials, and no study"
            raise source_error(
                source, message, f"Draw it with {shlex.join(['infpop', 'report', source])}, or name a study"
            )
        case _:
            return find_in_json(path, read_json(path))


def _kind(path: Path) -> str:
    """Return "directory", "csv" or "json"; a file of another name is told by how it begins.

    Raises:
        ResultError: there is no such file, or it is a study that has no result.
    """
    try:
        if path.is_dir():
            return "directory"
        if not path.exists():
            raise source_error(str(path), "does not exist", NAME_A_SOURCE)
    except (OSError, ValueError) as error:  # not a valid name of a file
        raise source_error(str(path), f"cannot be read ({error})", NAME_A_SOURCE) from error
    if path.suffix in _YAML:
        remedy = "Name the directory that infpop tune wrote for it, by default infpop-results/ and the study's name"
        raise source_error(str(path), "is a study file, and has no results", remedy)
    if path.suffix == ".json":
        return "json"
    return "json" if path.suffix != ".csv" and _read(path).lstrip().startswith(("{", "[")) else "csv"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise source_error(str(path), f"cannot be read ({error})", NAME_A_SOURCE) from error


def _refuse_options(source: str, cluster: dict[str, str | None]) -> None:
    for option, value in cluster.items():
        if value is not None:
            message = f"{source} is a path, and only a study on a cluster has a {option}"
            raise ResultError(f"--{option}: {value}: {message}. Leave it out, or name the study as {ON_CLUSTER}NAME.")


def _told_apart(names: Sequence[str], tables: Sequence[ResultTable]) -> tuple[ResultTable, ...]:
    """Return the tables with different sources for different studies; an export keeps the source of its rows.

    Two machines may have a study of one name in directories of one name. Their exports tell when each trial ran.

    Raises:
        ResultError: two tables have the same round, whose trials would count twice.
    """
    owners: dict[_RoundKey, list[str]] = defaultdict(list)
    read = dict(zip(names, tables, strict=True))
    found = dict(read)
    for name in sorted(names, key=lambda each: not read[each].rounds):  # exports, which can be renamed, come last
        table = read[name]
        keys = {_round_key(row) for row in table.trials}
        for key, owner in ((each, owner) for each in keys for owner in owners[each]):
            if table.rounds or not _ran_apart(key, table, read[owner]):
                source, study, pool, number = key
                message = f"has round {number} of pool {pool} of {study} ({source}), which {owner} has as well"
                raise source_error(name, message, "Name only one of the two")
            found[name] = _with_source(table, name)
        for key in keys:
            owners[key].append(name)
    return tuple(found.values())


def _with_source(table: ResultTable, name: str) -> ResultTable:
    return replace(table, trials=tuple(replace(row, source=f"{name}: {row.source}") for row in table.trials))


def _round_key(row: TrialResultRow) -> _RoundKey:
    return (row.source, row.study, row.pool, row.round)


def _ran_apart(key: _RoundKey, first: ResultTable, second: ResultTable) -> bool:
    """Return whether the trials of a round are known to have run at other times in one table than in the other."""
    own, other = (
        {row.started_at for row in table.trials if _round_key(row) == key and row.started_at is not None}
        for table in (first, second)
    )
    return bool(own and other) and own.isdisjoint(other)


def _about_names(tables: Iterable[ResultTable]) -> tuple[str, ...]:
    """Return a sentence about each name that studies of several sources have."""
    sources: dict[str, dict[str, None]] = {}
    for table in tables:
        named = {(row.study, row.source) for row in table.trials} | {(row.study, row.source) for row in table.rounds}
        for study, source in sorted(named):
            sources.setdefault(study, {})[source] = None
    return tuple(
        f"Several studies have the name {name}: {', '.join(known)}. They are told apart by where they were read."
        for name, known in sources.items()
        if len(known) > 1
    )
