"""Results to export, built as a study's status has them."""

from dataclasses import replace
from typing import Any

from export.delivery import tree_of
from factories.studies import make_pool, make_study
from factories.study_documents import make_study_document
from infpop_operator.api.parse import parse_object
from infpop_operator.api.serving_values import ServingValues, serving_values
from infpop_operator.api.status_model import Best
from infpop_operator.core.engine_args import engine_args, engine_settings
from infpop_operator.core.scalars import parse_scalar
from infpop_operator.core.study import Configuration, Scalar
from infpop_operator.export.formats import render_result
from infpop_operator.export.result import ExportedResult
from infpop_runner.contract import EngineSpec, SimulationSpec

IMAGE = "registry.example.com/ray-llm:2.50.1"
# Texts that some shell, template, or reader of YAML takes for something else.
HOSTILE = (
    "'; touch pwned; '",
    '"$(touch pwned)`touch pwned`"',
    "$(SECRET) $$(SECRET) $$ ${SECRET} $",
    "{{ .Spec }} {{{{`} {{",
    "a  b\\ *?[x] ~ !x # --flag",
    "yes",
    "ü漢\U0001f600",
    "<&>: - | > % @ `",
    '{"a": {"b": [1, null, true, "x\'y $(SECRET) {{"]}}',
    '[1, "a b", "c\\"d", {"e": 0.5}]',
    "0.5",
    "-7",
    "true",
    "false",
)
ALL_HOSTILE = {f"x_{letter}": text for letter, text in zip("abcdefghijklmnop", HOSTILE, strict=False)}


def make_result(
    *,
    gpu_count: int = 4,
    batch_size: int = 64,
    engine: str = "vllm",
    args: dict[str, Scalar] | None = None,
    gpu_resource: str = "nvidia.com/gpu",
    **changes: object,
) -> ExportedResult:
    """Return a result; `args` are further arguments of the engine, the other keywords replace fields."""
    result = ExportedResult(
        values=make_values(gpu_count, batch_size, engine, args or {}, gpu_resource),
        name="codellama",
        container="vllm",
        image=IMAGE,
        notes=("A note.",),
        is_simulated=engine == "simulated",
    )
    return replace(result, **changes)


def make_values(
    gpu_count: int, batch_size: int, engine: str, args: dict[str, Scalar], gpu_resource: str
) -> ServingValues:
    """Return the values of a result; its arguments are those that a study shows."""
    simulation = {"simulation": {"formula": {}}} if engine == "simulated" else {}
    pool = {"name": "a100", "gpuResource": gpu_resource}
    spec = {"engine": {"name": engine, **simulation}, "nodePools": [pool]}
    document = parse_object(make_study_document("codellama", "serving", **spec))
    replayed = {"simulation": SimulationSpec()} if engine == "simulated" else {}
    study = make_study(engine=EngineSpec(name=engine, args=args, gpu_memory_utilization=0.85, **replayed))
    device = "cpu" if gpu_resource == "cpu" else "cuda"
    chosen = Configuration(gpu_count=gpu_count, batch_size=batch_size)
    best = Best(
        pool="a100",
        gpu_count=gpu_count,
        batch_size=batch_size,
        throughput="4312.5",
        throughput_per_gpu="1078.125",
        spread="0.01",
        engine_args=list(engine_args(engine_settings(study, make_pool(device=device)), chosen, max_model_len=4096)),
        max_model_len=4096,
        run="run",
    )
    return serving_values(document, best, gpu_product="NVIDIA-A100-SXM4-40GB", engine_image=None)


def with_args(texts: dict[str, str], **changes: object) -> ExportedResult:
    """Return a result whose study has these texts in `engine.args`."""
    args: dict[str, Scalar] = {name: parse_scalar(text) for name, text in texts.items()}
    return make_result(args=args, **changes)


def ray_application(result: ExportedResult) -> dict[str, Any]:
    """Return the only application of the serveConfigV2 of a result."""
    (application,) = tree_of(tree_of(render_result(result, "rayservice"))["spec"]["serveConfigV2"])["applications"]
    found: dict[str, Any] = application
    return found
