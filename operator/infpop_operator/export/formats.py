"""The formats of `infpop export`, and which results each of them can take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infpop_operator.core.errors import ExportError, Problem
from infpop_operator.export.helm_values import render_helm_values
from infpop_operator.export.kserve import render_kserve
from infpop_operator.export.kustomize import render_kustomize
from infpop_operator.export.production_stack import render_production_stack
from infpop_operator.export.rayservice import render_rayservice
from infpop_operator.export.result import ExportedResult
from infpop_operator.export.vllm_args import render_vllm_args

_VLLM = ("vllm",)
_SERVERS = ("vllm", "simulated")  # a simulated study tries a delivery without GPUs; its output says what it is
_ALL = ("vllm", "hf-pipeline", "simulated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A form in which a result is exported.

    Args:
        render: returns the text.
        engines: whose results it can take.
        takes_cpus: whether it can take a result that was measured on CPUs.
        has_notes: whether the text has the notes as comments; if not, they go to standard error.
        needs_image: what the user names an image for, empty if no image is in the text.
        takes_measured_image: whether the image of the measurement serves too.
    """

    render: Callable[[ExportedResult], str]
    engines: tuple[str, ...]
    takes_cpus: bool = True
    has_notes: bool = True
    needs_image: str = ""
    takes_measured_image: bool = False


FORMATS: Mapping[str, Format] = {
    "vllm-args": Format(render=render_vllm_args, engines=_VLLM, has_notes=False),
    "kustomize": Format(render=render_kustomize, engines=_SERVERS),
    "helm-values": Format(render=render_helm_values, engines=_ALL),
    "kserve": Format(render=render_kserve, engines=_VLLM),
    "production-stack": Format(
        render=render_production_stack, engines=_VLLM, needs_image="an image with vLLM", takes_measured_image=True
    ),
    "rayservice": Format(
        render=render_rayservice, engines=_VLLM, takes_cpus=False, needs_image="an image with Ray Serve LLM"
    ),
}


def render_result(result: ExportedResult, name: str) -> str:
    """Return a result in the format of that name.

    Raises:
        ExportError: the format cannot hold this result; the message says why and what to do.
    """
    chosen = FORMATS[name]
    _refuse(result, name, chosen)
    return chosen.render(result)


def _refuse(result: ExportedResult, name: str, chosen: Format) -> None:
    values = result.values
    if values.engine not in chosen.engines:
        others = ", ".join(other for other, known in FORMATS.items() if values.engine in known.engines)
        message = f"is not for results of the engine {values.engine}, whose arguments are not those of a vLLM server"
        raise _error("--format", name, message, f"Use {others}, or tune with the engine vllm")
    if values.gpu_resource == "cpu" and not chosen.takes_cpus:
        message = f"places GPUs, and pool {values.pool} was measured on CPUs"
        raise _error("--format", name, message, "Tune a pool with GPUs, or use another format")
    is_unfit = result.image is None or (result.image_is_measured and not chosen.takes_measured_image)
    if chosen.needs_image and is_unfit:
        message = f"{name} needs {chosen.needs_image}"
        raise _error(
            "--image", "", message, "Name it, and for the same throughput one with the measured version of vLLM"
        )


def _error(field: str, value: str, message: str, remedy: str) -> ExportError:
    return ExportError(str(Problem(field=field, value=value, message=message, remedy=remedy)))
