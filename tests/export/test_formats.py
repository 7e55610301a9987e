"""Each format of `infpop export` carries every argument under which the result was measured, exactly once."""

import json
import shlex
import subprocess
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export.delivery import (
    container_args,
    evaluated_by_a_preset,
    production_stack_args,
    rendered_by_kserve,
    tree_of,
)
from export.known_fields import known_facts, misfits
from export.results import ALL_HOSTILE, HOSTILE, IMAGE, make_result, ray_application, with_args
from infpop_operator.cli.commands_results import ExportFormat
from infpop_operator.cli.export import TRIAL_FORMATS
from infpop_operator.core.errors import ExportError
from infpop_operator.core.scalars import parse_scalar
from infpop_operator.export.formats import FORMATS, render_result
from infpop_operator.export.production_stack import split_image
from infpop_operator.export.rayservice import ACCELERATORS, accelerator_type
from infpop_operator.export.result import ExportedResult
from infpop_operator.export.tables import TABLE_FORMATS
from infpop_runner.contract import StrictJsonError, decode_argument


def is_accepted(text: str) -> bool:
    """Return whether a study may have this argument: what begins like JSON has to be JSON."""
    try:
        decode_argument(parse_scalar(text))
    except StrictJsonError:
        return False
    return True


def is_text_only(item: str) -> bool:
    """Return whether an item of a list is nothing but text: on a command line the text 1 looks like the number."""
    try:
        json.loads(item)
    except ValueError:
        return True
    return False


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30)
ITEMS = st.integers(0, 9) | st.text("ab {}$'\"`(", min_size=1, max_size=6).filter(is_text_only)
STRUCTURES = st.lists(ITEMS, min_size=1, max_size=3) | st.dictionaries(TEXTS, ITEMS | st.booleans(), max_size=3)
VALUES = st.sampled_from(HOSTILE) | TEXTS.filter(is_accepted) | STRUCTURES.map(json.dumps)
ARGS = st.dictionaries(st.from_regex(r"x_[a-z0-9_]{0,8}[a-z]", fullmatch=True), VALUES, max_size=6)


def delivered(name: str, result: ExportedResult) -> list[str]:
    """Return the arguments of the engine that a server set up with this format gets."""
    text = render_result(result, name)
    match name:
        case "vllm-args":
            return shlex.split(text)
        case "helm-values":
            return list(tree_of(text)["infpop"]["args"])
        case "kustomize":
            return container_args(tree_of(text)["spec"]["template"]["spec"]["containers"][0])
        case "kserve":
            rendered = rendered_by_kserve(tree_of(text))
            return evaluated_by_a_preset(container_args(rendered["spec"]["template"]["containers"][0]))
        case _:
            (model,) = tree_of(text)["servingEngineSpec"]["modelSpec"]
            return production_stack_args(model, known_facts("production_stack")["options"])


@pytest.mark.parametrize("name", ["vllm-args", "helm-values", "kustomize", "kserve", "production-stack"])
@settings(max_examples=60)
@given(ARGS)
@example(ALL_HOSTILE)
def test_the_engine_gets_each_argument_once(name: str, texts: dict[str, str]) -> None:
    """Whatever the arguments contain, no shell, template or Kubernetes in between changes one."""
    result = with_args(texts)
    assert Counter(delivered(name, result)) == Counter(result.values.args)


@given(ARGS)
@example(ALL_HOSTILE)
def test_ray_gets_the_values_with_which_the_runner_loaded_the_engine(texts: dict[str, str]) -> None:
    """Ray passes Python values to vLLM, not a command line: numbers, booleans, lists and objects have their types."""
    (config,) = ray_application(with_args(texts))["args"]["llm_configs"]
    assert config["engine_kwargs"] == {
        "tensor_parallel_size": 4,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
        "max_model_len": 4096,
        "gpu_memory_utilization": 0.85,
        **{name: decode_argument(parse_scalar(text)) for name, text in texts.items()},
    }


def test_a_shell_passes_the_line_on_as_it_is(tmp_path: str) -> None:
    """The output of vllm-args is for a shell: a real one splits it, and executes nothing in it."""
    result = with_args(ALL_HOSTILE)
    script = f"printf '%s\\0' {render_result(result, 'vllm-args')}"
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert done.stdout.split("\0")[:-1] == list(result.values.args)


@pytest.mark.parametrize(
    ("name", "facts"), [("kserve", "kserve"), ("production-stack", "production_stack"), ("rayservice", "rayservice")]
)
def test_every_field_is_one_of_that_project(name: str, facts: str) -> None:
    """The project's own schema has each field with this type, and each required one is there."""
    arguments = {**ALL_HOSTILE, "enable_prefix_caching": "true", "max_loras": "4", "dtype": "float16"}
    tree = tree_of(render_result(with_args(arguments), name))
    assert list(misfits(tree, known_facts(facts)["object"])) == []


def test_every_field_of_the_ray_application_is_one_of_ray() -> None:
    """The text of serveConfigV2 is checked by Ray, not by the API server."""
    facts = known_facts("ray_serve_llm")
    result = with_args({**ALL_HOSTILE, "disable_log_stats": "true"})
    config = {"applications": [ray_application(result)]}
    assert list(misfits(config, facts["object"])) == []
    assert set(facts["accelerators"]) == ACCELERATORS


def test_misfits_are_found() -> None:
    """The comparison with another project's fields reports unknown and missing fields, and wrong types and values."""
    known = {"kind!": "This", "spec!": {"names": [{"name!": "string"}], "labels": {"*": "string"}, "count": "integer"}}
    value = {"kind": "That", "spec": {"names": [{"nam": "x"}], "labels": {"a": 1}, "count": True}}
    found = {misfit.partition(":")[0] for misfit in misfits(value, known)}
    assert found == {".kind", ".spec.names[0].name", ".spec.names[0].nam", ".spec.labels.a", ".spec.count"}
    assert list(misfits({"kind": "This"}, known)) == [".spec: missing"]


@pytest.mark.parametrize("name", ["kustomize", "kserve"])
def test_a_container_gets_the_gpus_of_the_measurement(name: str) -> None:
    """Limit and request are both set: the container that it is merged with may have another request."""
    amount = {"nvidia.com/gpu": "4"}
    assert container_of(make_result(), name)["resources"] == {"limits": amount, "requests": amount}
    assert "resources" not in container_of(make_result(gpu_resource="cpu"), name)


def container_of(result: ExportedResult, name: str) -> dict[str, Any]:
    """Return the engine's container in an output."""
    spec = tree_of(render_result(result, name))["spec"]["template"]
    (container,) = spec.get("spec", spec)["containers"]
    found: dict[str, Any] = container
    return found


def test_the_chart_of_the_production_stack_gets_gpus_and_image() -> None:
    """The entry of modelSpec has all that the chart needs to make a Deployment of one model."""
    (model,) = tree_of(render_result(make_result(), "production-stack"))["servingEngineSpec"]["modelSpec"]
    assert (model["requestGPU"], model["requestGPUType"]) == (4, "nvidia.com/gpu")
    assert f"{model['repository']}:{model['tag']}" == IMAGE
    assert model["vllmConfig"]["tensorParallelSize"] == 4
    on_cpus = render_result(make_result(gpu_resource="cpu"), "production-stack")
    (model,) = tree_of(on_cpus)["servingEngineSpec"]["modelSpec"]
    assert model["requestGPU"] == 0


def test_a_value_that_a_field_of_the_chart_does_not_take_is_an_extra_argument() -> None:
    """The chart's schema refuses text for a number, and vLLM may take it."""
    result = with_args({"max_loras": "many", "enable_prefix_caching": "1"})
    (model,) = tree_of(render_result(result, "production-stack"))["servingEngineSpec"]["modelSpec"]
    assert {"--max-loras=many", "--enable-prefix-caching=1"} <= set(model["vllmConfig"]["extraArgs"])


@pytest.mark.parametrize("word", ["y", "No", "off", "null", "12e4", "1_0", "0x1f", "~", "2026-01-01"])
def test_a_word_that_a_reader_of_yaml_may_take_for_something_else_is_quoted(word: str) -> None:
    """YAML 1.1 and 1.2 and Go's parsers differ in what is a boolean or a number."""
    assert (
        f'x_word: "{word}"'
        in tree_of(render_result(with_args({"x_word": word}), "rayservice"))["spec"]["serveConfigV2"]
    )


def test_ray_places_all_ranks_of_a_server_on_one_worker() -> None:
    """The worker has the GPUs of one server and the head none; Ray is told the model of GPU."""
    tree = tree_of(render_result(make_result(), "rayservice"))["spec"]["rayClusterConfig"]
    (worker,) = tree["workerGroupSpecs"]
    assert worker["template"]["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert "resources" not in tree["headGroupSpec"]["template"]["spec"]["containers"][0]
    (config,) = ray_application(make_result())["args"]["llm_configs"]
    assert config["accelerator_type"] == "A100"


@pytest.mark.parametrize(
    ("product", "accelerator"),
    [
        ("NVIDIA-A100-SXM4-40GB", "A100"),
        ("Tesla-V100-SXM2-32GB", "V100"),
        ("NVIDIA-H100-80GB-HBM3", "H100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA-GeForce-RTX-4090", None),
        (None, None),
    ],
)
def test_a_gpu_has_the_name_that_ray_gives_it(product: str | None, accelerator: str | None) -> None:
    """A name that Ray does not know would be waited for without end, so then there is none."""
    assert accelerator_type(product) == accelerator


def test_an_argument_that_excludes_metrics_turns_them_off() -> None:
    """Ray refuses `disable_log_stats` while it is to log the engine's metrics."""
    (config,) = ray_application(with_args({"disable_log_stats": "true"}))["args"]["llm_configs"]
    assert config["log_engine_metrics"] is False


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("vllm/vllm-openai:v0.19.1", ("vllm/vllm-openai", "v0.19.1")),
        ("host:5000/vllm", ("host:5000/vllm", "latest")),
        ("host:5000/vllm:1", ("host:5000/vllm", "1")),
        ("vllm@sha256:0a", ("vllm@sha256", "0a")),
    ],
)
def test_an_image_is_split_as_the_chart_joins_it(image: str, parts: tuple[str, str]) -> None:
    """The chart writes `repository:tag`, which also joins a digest."""
    assert split_image(image) == parts


@pytest.mark.parametrize(
    ("name", "changes", "parts"),
    [
        ("vllm-args", {"engine": "hf-pipeline"}, ("--format: vllm-args:", "hf-pipeline", "Use helm-values")),
        ("kustomize", {"engine": "hf-pipeline"}, ("hf-pipeline", "Use helm-values")),
        ("kserve", {"engine": "simulated"}, ("engine simulated", "Use kustomize, helm-values")),
        ("rayservice", {"gpu_resource": "cpu"}, ("pool a100 was measured on CPUs", "another format")),
        ("rayservice", {"image": None}, ("--image:", "Ray Serve LLM", "Name it")),
        ("rayservice", {"image_is_measured": True}, ("--image:", "Ray Serve LLM", "Name it")),
        ("production-stack", {"image": None}, ("--image:", "an image with vLLM", "Name it")),
    ],
)
def test_a_result_that_a_format_cannot_hold_is_refused(
    name: str, changes: dict[str, Any], parts: tuple[str, ...]
) -> None:
    """The message names the option, why the result does not fit, and what to do."""
    with pytest.raises(ExportError) as caught:
        render_result(make_result(**changes), name)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.has_notes])
def test_a_note_is_a_comment(name: str) -> None:
    """What a reader has to know comes first, and does not change the output."""
    text = render_result(make_result(), name)
    assert text.startswith("# A note.\n")
    assert tree_of(text)


def test_a_simulated_result_says_so_in_the_object() -> None:
    """A comment is lost when the patch is applied, an annotation is not."""
    tree = tree_of(render_result(make_result(engine="simulated"), "kustomize"))
    assert tree["metadata"]["annotations"] == {"infpop.io/simulated": "true"}


def test_the_command_line_has_every_format() -> None:
    """The command line lists the formats by itself, because help must not load what renders them."""
    assert [form.value for form in ExportFormat] == [*FORMATS, *TRIAL_FORMATS]
    assert set(TABLE_FORMATS) <= set(TRIAL_FORMATS)
