"""Choose which result of a study is exported."""

from dataclasses import dataclass

from infpop_operator.api.serving_values import ServingValues, serving_values
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.api.status_model import Best, Published
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.errors import ExportError, NoResultError, Problem
from infpop_runner.contract import one_line

_SIMULATED = "SIMULATED: the throughput is replayed, nothing was measured."
_NOT_PUBLISHED = "This is not what the study publishes."
_NO_LENGTH = "The context length of the measurement is unknown: set --max-model-len if the server does not start."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedResult:
    """One result of a study, and what the user chose for its output.

    Args:
        values: what a server needs.
        name: of the object that the output is, or that it changes.
        container: of the engine, where the output names one.
        image: to serve with; None if neither the user nor the study names one.
        image_is_measured: whether it is that of the measurement, because the user names none.
        notes: what a reader of the output has to know, one sentence each.
        is_simulated: whether the numbers are replayed.
    """

    values: ServingValues
    name: str
    container: str
    image: str | None
    notes: tuple[str, ...]
    is_simulated: bool
    image_is_measured: bool = False


def choose_result(
    study: StudyObject, *, newest: bool, name: str | None, container: str, image: str | None
) -> ExportedResult:
    """Return the result of `study` to export: what it has published, else its best once the search has ended.

    Args:
        study: the study with its status.
        newest: choose the best as known now, although the search goes on or another result is published.
        name: of the object in the output, None for the study's name.
        container: of the engine, where the output names one.
        image: to serve with, None for the one of the measurement.

    Raises:
        NoResultError: the study has no such result.
        ExportError: this version cannot read the study's spec, or an older version did not record the arguments.
    """
    document = _document(study)
    best, notes = _chosen(study, newest=newest)
    if not best.engine_args:
        message = "an older version of InfPop measured it and did not record its engine arguments"
        raise ExportError(_problem(study, message, "Let the study measure again"))
    pool = next((row for row in study.status.pools if (row.name, row.round) == (best.pool, best.round)), None)
    software = best.image if isinstance(best, Published) else None if pool is None else pool.image
    measured_image = software if study.namespace else None  # on one machine it is no image, but versions
    gpu = None if pool is None else pool.gpu
    values = serving_values(document, best, gpu_product=gpu, engine_image=measured_image)
    is_simulated = study.status.simulated
    return ExportedResult(
        values=values,
        name=name or study.name,
        container=container,
        image=image or measured_image,
        notes=(*_facts(values, software, is_simulated=is_simulated), *notes),
        is_simulated=is_simulated,
        image_is_measured=image is None and measured_image is not None,
    )


def _document(study: StudyObject) -> ThroughputStudy:
    if study.document is None:
        message = "this version of infpop cannot read its spec"
        raise ExportError(_problem(study, message, "Use the version that the operator has"))
    return study.document


def _chosen(study: StudyObject, *, newest: bool) -> tuple[Best, tuple[str, ...]]:
    """Return the result to export, and what a reader has to know of the choice."""
    best, published = study.status.best, study.status.published
    has_ended = study.holds("Succeeded") and study.status.observed_generation == study.generation
    if published is not None and not newest:
        return published, _about_published(published, best)
    if best is None:
        raise NoResultError(_problem(study, f"has no result{_why(study)}", _wait(study)))
    if not has_ended and not newest:
        message = f"its search has not ended{_why(study)}, so its best may change"
        raise NoResultError(_problem(study, message, f"{_wait(study)}, or export the best so far with --newest"))
    so_far = () if has_ended else ("The search has not ended: this is its best so far.",)
    return best, (*so_far, *(() if published is None or _is_same(published, best) else (_NOT_PUBLISHED,)))


def _about_published(published: Published, best: Best | None) -> tuple[str, ...]:
    since = one_line(f"Published since {published.at.isoformat()} ({published.reason}).")
    if best is None or _is_same(published, best):
        return (since,)
    other = f"{_devices(best.gpu_count, 'GPU')}, batch size {best.batch_size} on pool {best.pool}"
    return (since, one_line(f"The study's best is another configuration now ({other}); --newest exports it."))


def _is_same(published: Published, best: Best) -> bool:
    """Return whether the best is the configuration that is published."""
    compared = [(each.pool, each.gpu_count, each.batch_size, each.extra) for each in (published, best)]
    return compared[0] == compared[1]


def _why(study: StudyObject) -> str:
    ready = study.condition("Ready")
    return "" if ready is None else f" ({one_line(f'{ready.reason}: {ready.message}')})"


def _wait(study: StudyObject) -> str:
    if study.namespace:
        return f"See what it waits for: infpop status {study.name} -n {study.namespace}"
    return "Run infpop tune again with its study file to resume it"


def _problem(study: StudyObject, message: str, remedy: str) -> str:
    return str(Problem(field=f"study {study.name}", value="", message=message, remedy=remedy))


def _origin(values: ServingValues) -> tuple[str, ...]:
    """Return which other study measured the result; nothing if its own did."""
    if values.reused_from is None:
        return ()
    return (one_line(f"Measured by study {values.reused_from}; this study took its number over."),)


def _facts(values: ServingValues, software: str | None, *, is_simulated: bool) -> tuple[str, ...]:
    """Return what was measured, with which software, and what the arguments lack."""
    device = "CPU rank" if values.gpu_resource == "cpu" and not is_simulated else "GPU"
    devices = _devices(values.gpu_count, device)
    where = values.pool if values.gpu_product is None else f"{values.pool} ({values.gpu_product})"
    return (
        one_line(f"infpop export: study {values.study}, model {values.model}."),
        one_line(f"{devices}, batch size {values.batch_size} on pool {where}: {values.throughput} tokens/s."),
        *((f"Measured with {one_line(software)}.",) if software else ()),
        *_origin(values),
        *((_SIMULATED,) if is_simulated else ()),
        *((_NO_LENGTH,) if values.engine == "vllm" and values.max_model_len is None else ()),
    )


def _devices(count: int, device: str) -> str:
    return f"{count} {device}{'' if count == 1 else 's'}"
