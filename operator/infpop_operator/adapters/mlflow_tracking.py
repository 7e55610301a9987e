"""Log runs to MLflow: to a tracking server, or to files in a directory. Only this module imports mlflow.

A run carries its trial's identifier and a hash of its content as tags, the hash last: a run that is there with the same
hash is left alone; one with another hash, or without one after a crash, is deleted and logged again.

MLflow 3.17 refuses to write files unless `MLFLOW_ALLOW_FILE_STORE` is set, because its own development goes on in
databases only. `mlflow-skinny` cannot write to a database, so files are what works without a server.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.environment_variables import MLFLOW_ALLOW_FILE_STORE
from mlflow.exceptions import MlflowException

from infpop_operator.analysis.tracked_runs import TrackedRound, TrackedRun
from infpop_operator.core.errors import ExportError, Problem

_ID = "infpop.id"
_CONTENT = "infpop.content"
_NAME = "mlflow.runName"
_PARENT = "mlflow.parentRunId"
_PAGE = 1000
_AT_ONCE = 100  # parameters in one request
_MILLISECONDS = 1000
# The runs of an experiment by our identifier: that of MLflow, and the hash of the content.
_Logged = dict[str, tuple[str, str | None]]


def log_rounds(rounds: Iterable[TrackedRound], destination: str | Path) -> Counter[str]:
    """Log the runs that are not there yet; return how many were "added", "replaced" and "unchanged".

    Args:
        rounds: what to log.
        destination: URI of a tracking server, or a directory.

    Raises:
        ExportError: MLflow refuses the destination or the runs, or the server does not answer.
    """
    try:
        client = _client(destination)
        done: Counter[str] = Counter(added=0, replaced=0, unchanged=0)
        logged: dict[str, _Logged] = {}
        for each in rounds:
            experiment = _experiment(client, each.experiment)
            if experiment not in logged:
                logged[experiment] = _runs_of(client, experiment)
            done.update(_log_round(client, each, experiment, logged[experiment]))
    except MlflowException as error:
        remedy = (
            "Use --output DIR for files, or the http address of a server: a database needs the whole package mlflow"
        )
        first_line = (str(error).splitlines() or [""])[0]
        problem = Problem(field="MLflow", value=str(destination), message=first_line.rstrip("."), remedy=remedy)
        raise ExportError(str(problem)) from error
    return done


def _client(destination: str | Path) -> MlflowClient:
    if isinstance(destination, Path):
        MLFLOW_ALLOW_FILE_STORE.set(True)  # type: ignore[no-untyped-call]
        destination = destination.resolve().as_uri()
    return MlflowClient(tracking_uri=destination)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _runs_of(client: MlflowClient, experiment: str) -> _Logged:
    """Return the runs that InfPop logged."""
    logged: _Logged = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=_PAGE, page_token=token)
        for run in page:
            tags = run.data.tags
            if _ID in tags:
                logged[tags[_ID]] = (run.info.run_id, tags.get(_CONTENT))
        token = page.token
        if not token:
            return logged


def _log_round(client: MlflowClient, each: TrackedRound, experiment: str, known: _Logged) -> Counter[str]:
    done: Counter[str] = Counter()
    parent = known[each.id][0] if each.id in known else None
    for run in each.runs:
        earlier = known.get(run.id)
        if earlier is not None and earlier[1] == run.content:
            done["unchanged"] += 1
            continue
        if parent is None:
            parent = _log_parent(client, each, experiment)
        if earlier is not None:
            client.delete_run(earlier[0])
        _log_run(client, run, experiment, parent)
        done["added" if earlier is None else "replaced"] += 1
    return done


def _log_parent(client: MlflowClient, each: TrackedRound, experiment: str) -> str:
    starts = [run.started_at for run in each.runs if run.started_at is not None]
    ends = [run.ended_at for run in each.runs if run.ended_at is not None]
    tags = {_NAME: each.name, _ID: each.id, **each.tags}
    parent = client.create_run(experiment, start_time=_instant(min(starts, default=None)), tags=tags).info.run_id
    client.set_terminated(parent, end_time=_instant(max(ends, default=None)))
    return str(parent)


def _log_run(client: MlflowClient, run: TrackedRun, experiment: str, parent: str) -> None:
    tags = {_NAME: run.name, _PARENT: parent, _ID: run.id, **run.tags}
    run_id = client.create_run(experiment, start_time=_instant(run.started_at), tags=tags).info.run_id
    end = _instant(run.ended_at)
    metrics = [Metric(name, value, end or 0, 0) for name, value in run.metrics.items()]
    params = [Param(name, value) for name, value in run.parameters.items()]
    client.log_batch(run_id, metrics=metrics, params=params[:_AT_ONCE])
    for first in range(_AT_ONCE, len(params), _AT_ONCE):
        client.log_batch(run_id, params=params[first : first + _AT_ONCE])
    client.set_terminated(run_id, status="FAILED" if run.has_failed else "FINISHED", end_time=end)
    client.set_tag(run_id, _CONTENT, run.content)


def _instant(time: datetime | None) -> int | None:
    """Return milliseconds since 1970; None lets MLflow take the time of the export."""
    return None if time is None else int(time.timestamp() * _MILLISECONDS)
