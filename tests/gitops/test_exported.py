"""Outputs of `infpop export` as kubectl and helm read them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.helm import helm
from controlplane.binaries import find_binaries
from export.delivery import container_args, production_stack_args, tree_of
from export.known_fields import known_facts
from export.results import ALL_HOSTILE, make_result, with_args
from infpop_operator.export.formats import render_result

pytestmark = pytest.mark.cluster  # needs no control plane, only kubectl and helm, which are built with it
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "codellama"},
    "spec": {
        "selector": {"matchLabels": {"app": "codellama"}},
        "template": {
            "metadata": {"labels": {"app": "codellama"}},
            "spec": {
                "containers": [
                    {"name": "proxy", "image": "envoy"},
                    {
                        "name": "vllm",
                        "image": "vllm/vllm-openai:v0.19.1",
                        "command": ["vllm", "serve", "codellama/CodeLlama-7b-hf", "--port=8000"],
                        "args": ["--max-num-seqs=8"],
                        "resources": {
                            "limits": {"cpu": "8", "nvidia.com/gpu": "1"},
                            "requests": {"nvidia.com/gpu": "1"},
                        },
                    },
                ]
            },
        },
    },
}
# As helm/templates/deployment-vllm-multi.yaml of the production stack writes them: `quote` is Go's.
TEMPLATE = """
args:
{{- range (index .Values.servingEngineSpec.modelSpec 0).vllmConfig.extraArgs }}
- {{ . | quote }}
{{- end }}
"""


def write_files(directory: Path) -> None:
    """Write the Deployment, the exported patch of it, and a kustomization that applies the patch."""
    (directory / "deployment.yaml").write_text(yaml.safe_dump(DEPLOYMENT))
    (directory / "best.yaml").write_text(render_result(with_args(ALL_HOSTILE), "kustomize"))
    kustomization = {"resources": ["deployment.yaml"], "patches": [{"path": "best.yaml"}]}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


@pytest.mark.parametrize(
    "command",
    [
        ("kustomize", "."),
        ("patch", "--local", "--filename=deployment.yaml", "--patch-file=best.yaml", "--output=yaml"),
    ],
    ids=["kustomize", "patch"],
)
def test_a_patch_sets_the_arguments_and_gpus_of_one_container(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Kubectl merges it by the container's name: image, command and other limits stay, and so do other containers."""
    write_files(tmp_path)
    kubectl = [str(find_binaries().kubectl), *command]
    done = subprocess.run(kubectl, cwd=tmp_path, capture_output=True, check=True, text=True)
    pod = tree_of(done.stdout)["spec"]["template"]["spec"]
    containers = {container["name"]: container for container in pod["containers"]}
    before = {container["name"]: container for container in DEPLOYMENT["spec"]["template"]["spec"]["containers"]}
    assert containers["proxy"] == before["proxy"]
    assert container_args(containers["vllm"]) == list(with_args(ALL_HOSTILE).values.args)
    assert containers["vllm"]["resources"] == {
        "limits": {"cpu": "8", "nvidia.com/gpu": "4"},
        "requests": {"nvidia.com/gpu": "4"},
    }
    assert {name: containers["vllm"][name] for name in ("image", "command")} == {
        name: before["vllm"][name] for name in ("image", "command")
    }


def test_helm_writes_the_arguments_of_the_production_stack_as_they_are(tmp_path: Path) -> None:
    """Go's quoting of the chart's template and YAML's reading of it cancel out for every character."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "args.yaml").write_text(TEMPLATE)
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "stack", "version": "1.0.0"}))
    result = with_args(ALL_HOSTILE)
    (tmp_path / "best.yaml").write_text(render_result(result, "production-stack"))
    text = helm("template", "stack", "CHART", "--values", str(tmp_path / "best.yaml"), chart=tmp_path)
    (model,) = tree_of((tmp_path / "best.yaml").read_text())["servingEngineSpec"]["modelSpec"]
    model["vllmConfig"]["extraArgs"] = tree_of(text)["args"]
    args = production_stack_args(model, known_facts("production_stack")["options"])
    assert sorted(args) == sorted(result.values.args)


def test_helm_reads_the_published_values(tmp_path: Path) -> None:
    """A chart gets the arguments and the count under the key `infpop`."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "values.yaml").write_text("{{ .Values.infpop | toJson }}")
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "stack", "version": "1.0.0"}))
    result = make_result(args={"speculative_config": '{"method": "ngram"}', "x_word": "yes"})
    (tmp_path / "best.yaml").write_text(render_result(result, "helm-values"))
    known = tree_of(helm("template", "stack", "CHART", "--values", str(tmp_path / "best.yaml"), chart=tmp_path))
    assert known["gpuCount"] == 4
    assert known["args"] == list(result.values.args)
    assert known["arguments"]["speculative_config"] == {"method": "ngram"}
