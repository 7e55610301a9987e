"""Parse and check a study before it starts on this machine, and join it with the facts about the machine.

All problems that do not depend on each other are reported together. Nothing is started and nothing is written here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from infpop_operator.adapters.installed_engine import known_models
from infpop_operator.adapters.landscape_file import check_landscape
from infpop_operator.adapters.machine import Machine
from infpop_operator.adapters.model_config import check_config, directory_config, directory_fingerprint, hub_config
from infpop_operator.adapters.study_file import read_study_text
from infpop_operator.adapters.workload_file import workload_fingerprint
from infpop_operator.api.convert import to_source, to_study
from infpop_operator.api.parse import parse_document
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.study import Study
from infpop_operator.local.installed import check_arguments, check_installed
from infpop_operator.local.metrics import check_required_metrics, without_metrics
from infpop_operator.local.pool import LocalPool, fit_pools
from infpop_operator.local.tiny_model import NAME as TINY_MODEL
from infpop_operator.local.tiny_model import has_model
from infpop_runner.contract import ModelFacts, RecordedLandscape

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A study that can be started on this machine.

    `gpus` has the NVML indexes of the GPUs that runs may use. `needs_tiny_model` is whether InfPop has to provide its
    own tiny model. `notes` tell the user which parts of the study have no effect on this machine.
    """

    study: Study
    document: ThroughputStudy
    text: str
    gpus: tuple[int, ...]
    needs_tiny_model: bool
    notes: tuple[str, ...] = ()


def prepare(path: Path, machine: Machine, *, tiny_model: Path) -> Prepared:
    """Return the study in the file `path`, joined with the facts about this machine.

    Args:
        path: the study file; relative paths in it are relative to its directory.
        machine: the hardware that runs may use.
        tiny_model: the directory of the model with the name `infpop/tiny-llama`.

    Raises:
        StudyError: the study is invalid, or cannot be tuned on this machine; every problem has field, value and remedy.
    """
    return prepare_text(
        read_study_text(path), machine, name=str(path), base=path.absolute().parent, tiny_model=tiny_model
    )


def prepare_text(text: str, machine: Machine, *, name: str, base: Path, tiny_model: Path) -> Prepared:
    """Return the study in a YAML text; arguments and errors are those of `prepare`.

    Args:
        text: the study.
        machine: the hardware that runs may use.
        name: of the text in messages.
        base: the directory to which relative paths in it are relative.
        tiny_model: the directory of the model with the name `infpop/tiny-llama`.
    """
    document = _with_expanded_paths(parse_document(text, source=name))
    _refuse_config_map(document)
    problems = _Problems()
    pool = problems.collect(lambda: fit_pools(document.spec, machine))
    model = problems.collect(lambda: _find_model(document, base, tiny_model))
    problems.collect(lambda: check_installed(document.spec))
    problems.collect(lambda: check_arguments(document.spec))
    problems.collect(lambda: check_required_metrics(document.spec))
    prompts = to_source(document.spec.workload.source, base)
    fingerprint = problems.collect(lambda: workload_fingerprint(prompts, samples=document.spec.workload.samples))
    if pool is None or model is None or fingerprint is None or problems.found:
        raise StudyError(problems.found)
    document, notes = without_metrics(document)
    study = _to_study(document, base, pool, model, fingerprint)
    return Prepared(
        study=study,
        document=document,
        text=text,
        gpus=pool.gpus,
        needs_tiny_model=document.spec.model.name == TINY_MODEL and document.spec.engine.name != "simulated",
        notes=notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    name: str
    fingerprint: str
    facts: ModelFacts | None


class _Problems:
    """Collects the problems of several checks, so that the user sees all of them together."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def collect(self, step: Callable[[], Result]) -> Result | None:
        try:
            return step()
        except StudyError as error:
            self.found.extend(error.problems)
            return None


def _with_expanded_paths(document: ThroughputStudy) -> ThroughputStudy:
    """Return the document with `~` in file paths expanded, as in a model's name."""
    spec = document.spec
    source, simulation = spec.workload.source, spec.engine.simulation
    if source.file is not None:
        file = source.file.model_copy(update={"path": _expanded(source.file.path)})
        source = source.model_copy(update={"file": file})
    if simulation is not None and simulation.recorded is not None:
        recorded = simulation.recorded.model_copy(update={"path": _expanded(simulation.recorded.path)})
        simulation = simulation.model_copy(update={"recorded": recorded})
    workload = spec.workload.model_copy(update={"source": source})
    engine = spec.engine.model_copy(update={"simulation": simulation})
    return document.model_copy(update={"spec": spec.model_copy(update={"workload": workload, "engine": engine})})


def _expanded(path: str) -> str:
    """Return `path` with `~` replaced by the home directory; `~name` of an unknown user stays, and is not found."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        return path


def _refuse_config_map(document: ThroughputStudy) -> None:
    config_map = document.spec.workload.source.config_map
    if config_map is not None:
        problem = Problem(
            field="spec.workload.source.configMap",
            value=config_map.name,
            message="ConfigMaps do not exist outside a cluster",
            remedy="Save its prompts to a file and use file: {path: prompts.jsonl}",
        )
        raise StudyError([problem])


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # not a valid name of a directory
        return False


def _to_study(document: ThroughputStudy, base: Path, pool: LocalPool, model: _Model, fingerprint: str) -> Study:
    study = to_study(
        document,
        pools=pool.pools,
        model_fingerprint=model.fingerprint,
        workload_fingerprint=fingerprint,
        model_facts=model.facts,
        model_name=model.name,
        base=base,
    )
    # A person starts each run here: changed hardware needs no time to settle, and no limit.
    study = replace(study, retune=replace(study.retune, debounce=timedelta(0), max_per_day=None))
    simulation = study.engine.simulation
    if simulation is not None and isinstance(simulation.landscape, RecordedLandscape):
        check_landscape(simulation.landscape)
    return study


def _find_model(document: ThroughputStudy, base: Path, tiny_model: Path) -> _Model:
    """Return the model: a directory relative to the study file if it exists, otherwise the model of that id on the hub.

    A simulated study needs only the model's name.
    """
    name = document.spec.model.name
    if document.spec.engine.name == "simulated":
        return _Model(name=name, fingerprint=name, facts=None)

    def facts_of(config: dict[str, Any] | None, shown: str) -> ModelFacts | None:
        if config is None:
            return None
        return check_config(config, shown, document.spec, known_models(document.spec.engine.name))

    if name == TINY_MODEL:
        facts = facts_of(directory_config(tiny_model) if has_model(tiny_model) else None, name)
        return _Model(name=str(tiny_model), fingerprint=name, facts=facts)
    directory = base / _expanded(name)
    if _is_directory(directory):
        facts = facts_of(directory_config(directory), str(directory))
        return _Model(name=str(directory), fingerprint=directory_fingerprint(directory), facts=facts)
    if name.startswith((".", "/", "~")):
        remedy = "Check the path (a relative one is relative to the study file), or write a hub id"
        problem = Problem(field="spec.model.name", value=name, message="this directory does not exist", remedy=remedy)
        raise StudyError([problem])
    return _Model(name=name, fingerprint=name, facts=facts_of(hub_config(document.spec), name))
