"""The command `infpop export` with a format that has the best result, for serving."""

import importlib
import re
import sys
from pathlib import Path

from infpop_operator.adapters.files import write_atomically
from infpop_operator.adapters.result_directory import read_result
from infpop_operator.api.study_object import StudyObject
from infpop_operator.cli.error_output import print_error
from infpop_operator.cli.exit_codes import ExitCode
from infpop_operator.core.errors import ExportError, InfPopError, NoAnswerError, NoResultError, Problem
from infpop_operator.core.object_names import IMAGE_PATTERN, NAME_PATTERN
from infpop_operator.export.formats import FORMATS, render_result
from infpop_operator.export.result import choose_result

_ON_CLUSTER = "study/"


def run(
    source: str,
    *,
    form: str,
    output: Path | None,
    name: str | None,
    container: str,
    image: str | None,
    newest: bool,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> ExitCode:
    """Print the result of the study in `source` in the format `form`, or write it to `output`."""
    cluster = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    try:
        _check("name", name, NAME_PATTERN, "Use lower-case letters, digits and dashes")
        _check("container", container, NAME_PATTERN, "Use lower-case letters, digits and dashes")
        _check("image", image, IMAGE_PATTERN, "Write REGISTRY/REPOSITORY:TAG or a digest")
        study = _read_study(source, cluster)
        result = choose_result(study, newest=newest, name=name, container=container, image=image)
        text = render_result(result, form)
        if not FORMATS[form].has_notes:
            sys.stderr.writelines(f"{note}\n" for note in result.notes)
        _write(text, output)
    except NoResultError as error:
        print_error(f"{source}: nothing to export.", error)
        return ExitCode.NO_RECOMMENDATION
    except NoAnswerError as error:
        print_error(f"{source}: cannot be read now.", error)
        return ExitCode.INTERNAL_ERROR
    except InfPopError as error:
        return print_error(f"{source}: cannot be exported.", error)
    return ExitCode.FOUND


def _read_study(source: str, cluster: dict[str, str | None]) -> StudyObject:
    """Return the study; the Kubernetes client is loaded only if it is on a cluster."""
    if source.startswith(_ON_CLUSTER):
        reader = importlib.import_module("infpop_operator.adapters.kube.study_reader")
        found: StudyObject = reader.read_study(source.removeprefix(_ON_CLUSTER), **cluster)
        return found
    for option, value in cluster.items():
        if value is not None:
            message = f"{source} is a path, and only a study on a cluster has a {option}"
            raise _error(f"--{option}", value, message, f"Leave it out, or name the study as {_ON_CLUSTER}NAME")
    return read_result(Path(source))


def _check(option: str, value: str | None, pattern: str, remedy: str) -> None:
    if value is not None and not (value and re.fullmatch(pattern, value)):
        raise _error(f"--{option}", value, f"is not a valid {option}", remedy)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(output, text)
    except OSError as error:
        remedy = "Name a file in a directory that exists and that you may write to"
        raise _error("--output", str(output), f"cannot be written ({error.strerror})", remedy) from error


def _error(field: str, value: str, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=field, value=value, message=message, remedy=remedy)))
