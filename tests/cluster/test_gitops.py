"""What docs/gitops.md promises, on a real API server: nothing drifts, and health is seen as it is."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.operator_process import ROOT, OperatorProcess
from cluster.place import Place
from cluster.studies import read_objects, wait_for_condition
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from factories.study_documents import make_study_document
from gitops.judges import argo_health, flux_expressions, flux_status, health_script
from infpop_operator.api.parse import parse_document

pytestmark = pytest.mark.cluster
REPOSITORY = ROOT / "deploy" / "repository"
OVERLAY = REPOSITORY / "studies" / "production"
PAGE = (ROOT / "docs" / "gitops.md").read_text()
NAMESPACE = "serving"  # the repository's own


@pytest.fixture(scope="module")
def rendered(installed: ControlPlane) -> list[dict[str, Any]]:
    """What kustomize makes of the overlay."""
    return list(yaml.safe_load_all(installed.kubectl("kustomize", str(OVERLAY))))


@pytest.fixture(params=["client", "server"])
def applied(request: pytest.FixtureRequest, installed: ControlPlane) -> Iterator[str]:
    """The overlay in the cluster, applied by the client or the server, until the test is over; the way to do so."""
    way = "--server-side=true" if request.param == "server" else "--server-side=false"
    installed.kubectl("apply", way, "-k", str(OVERLAY))
    yield way
    installed.kubectl("delete", "-k", str(OVERLAY))


def only(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one document of a kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def test_the_overlay_joins_study_prompts_and_image(rendered: list[dict[str, Any]]) -> None:
    """The study names the prompts as they are really called, in its namespace, and the image of the overlay."""
    study, prompts = only(rendered, "ThroughputStudy"), only(rendered, "ConfigMap")
    spec = parse_document(yaml.safe_dump(study), source="overlay").spec
    assert spec.workload.source.config_map is not None
    assert spec.workload.source.config_map.name == prompts["metadata"]["name"] != "codellama-7b-prompts"
    assert {study["metadata"]["namespace"], prompts["metadata"]["namespace"]} == {NAMESPACE}
    assert spec.engine.image == "registry.example.com/infpop-runner:1"
    assert (spec.budget.max_trials, spec.node_pools[0].node_selector) == (20, {"team": "serving"})
    prompts_there = prompts["data"]["prompts.jsonl"].splitlines()
    assert len(prompts_there) == spec.workload.samples
    assert all(json.loads(line)["prompt"] for line in prompts_there)


def test_what_serves_is_the_example(installed: ControlPlane) -> None:
    """The repository's Deployment is the one that examples/cluster shows, and reads what the study publishes."""
    example = (ROOT / "examples" / "cluster" / "serving.yaml").read_text()
    assert (REPOSITORY / "serving" / "codellama-7b.yaml").read_text() == example
    deployment = yaml.safe_load(installed.kubectl("kustomize", str(REPOSITORY / "serving")))
    study = yaml.safe_load((REPOSITORY / "studies" / "base" / "codellama-7b.yaml").read_text())
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert study["spec"]["publish"]["configMap"] in [volume.get("configMap", {}).get("name") for volume in volumes]


def test_kustomize_copies_from_a_committed_result(installed: ControlPlane, tmp_path: Path) -> None:
    """The page's replacements put the GPU count of a result into the example's Deployment."""
    shutil.copy(ROOT / "examples" / "cluster" / "serving.yaml", tmp_path)
    result = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "codellama-7b-best-vars"}}
    (tmp_path / "result.yaml").write_text(yaml.safe_dump({**result, "data": {"GPU_COUNT": "4"}}))
    kustomization = {"resources": ["serving.yaml", "result.yaml"], **snippet("replacements:")}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    documents = list(yaml.safe_load_all(installed.kubectl("kustomize", str(tmp_path))))
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_a_container_takes_the_result_from_its_environment(tmp_path: Path) -> None:
    """The page's command hands over every argument as it was published, with spaces and quotes."""
    (tmp_path / "vllm").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "vllm").chmod(0o700)
    container = snippet("envFrom:")
    arguments = ["--max-num-seqs=8", "--hf-overrides={\"a\": 'it is $HOME'}"]
    answer = subprocess.run(
        [*container["command"], *container["args"]],
        env={"PATH": f"{tmp_path}:{os.defpath}", "MODEL": "some/model", "ARGS_SHELL": shlex.join(arguments)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.splitlines() == ["serve", "some/model", *arguments]


def test_the_page_shows_the_files() -> None:
    """Each line that the page shows of the closed loop is one of the file that it names."""
    (block,) = (block for block in PAGE.split("```") if "# deploy/flux/serving.yaml" in block)
    for part in block.removeprefix("yml").strip().split("\n\n"):
        heading, *lines = part.splitlines()
        path = re.findall(r"[\w/-]+\.yaml", heading)[0]
        file = ROOT / path if path.startswith("deploy/") else REPOSITORY / path
        text = {line.partition("  #")[0].strip() for line in file.read_text().splitlines()}
        assert {line.partition("  #")[0].strip() for line in lines} <= text


def snippet(word: str) -> Any:  # noqa: ANN401 - YAML
    """Return the page's only block of YAML with this word."""
    (found,) = (block for block in re.findall(r"```yml\n(.*?)```", PAGE, re.DOTALL) if word in block)
    return yaml.safe_load(found)


def test_nothing_drifts(
    quick_operator: OperatorProcess, installed: ControlPlane, rendered: list[dict[str, Any]], applied: str
) -> None:
    """After the operator's first pass over a study, applying it again changes nothing and shows no difference."""
    assert quick_operator.is_running()
    wait_for_condition(installed, NAMESPACE, "codellama-7b", "Accepted")
    live = read_objects(installed, NAMESPACE, "tstudy", "codellama-7b")
    wanted = only(rendered, "ThroughputStudy")
    assert without_extras(wanted, live) == wanted
    again = json.loads(installed.kubectl("apply", applied, "-k", str(OVERLAY), "--dry-run=server", "--output=json"))
    assert only(again["items"], "ThroughputStudy")["spec"] == live["spec"]
    assert only(again["items"], "ThroughputStudy")["metadata"]["generation"] == 1
    installed.kubectl("diff", applied, "-k", str(OVERLAY))


def test_a_pool_may_have_an_owner_of_its_own(installed: ControlPlane, place: Place) -> None:
    """Applied by the server, the image of one pool comes from elsewhere and nothing else is taken from the study."""
    metadata = {"name": "study", "namespace": place.namespace}
    pools = [{"name": "a100", "gpuProduct": "A100"}, {"name": "v100", "gpuProduct": "V100"}]
    study = make_study_document("study", place.namespace, nodePools=pools)
    other = {**{key: study[key] for key in ("apiVersion", "kind")}, "metadata": metadata}
    other["spec"] = {"nodePools": [{"name": "v100", "image": "older:1"}]}

    def apply(document: dict[str, Any], manager: str) -> list[dict[str, Any]]:
        options = ("--server-side", f"--field-manager={manager}", "--filename=-", "--output=json")
        applied: list[dict[str, Any]] = json.loads(installed.kubectl("apply", *options, input=json.dumps(document)))[
            "spec"
        ]["nodePools"]
        return [{key: pool.get(key) for key in ("name", "gpuProduct", "image")} for pool in applied]

    apply(study, "git")
    both = [
        {"name": "a100", "gpuProduct": "A100", "image": None},
        {"name": "v100", "gpuProduct": "V100", "image": "older:1"},
    ]
    assert apply(other, "images") == both
    assert apply(study, "git") == both
    study["spec"]["nodePools"] = pools[1:]
    assert apply(study, "git") == both[1:]


def without_extras(wanted: Any, live: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the live object less what Git says nothing of, which is what Argo CD compares with Git by default.

    Where what was applied last is what is in Git, its three-way merge is this one comparison: fields that Git lacks are
    left out at every depth, also within lists, where items are paired by their position (argoproj/gitops-engine,
    pkg/diff and pkg/utils/json).
    """
    match wanted, live:
        case dict(), dict():
            return {key: without_extras(value, live[key]) for key, value in wanted.items() if key in live}
        case list(), list():
            paired = [without_extras(value, other) for value, other in zip(wanted, live, strict=False)]
            return paired + live[len(wanted) :]
        case _:
            return live


def test_health_is_seen_as_it_is(quick_operator: OperatorProcess, place: Place) -> None:
    """A real study's accepted, refused and suspended are Argo CD's and Flux's."""
    assert quick_operator.is_running()
    place.study()
    judged(place, "study", "Healthy", "Current")
    place.change(suspend=True)
    judged(place, "study", "Suspended", "Current")
    place.study("refused", model={"name": "./weights"})
    judged(place, "refused", "Degraded", "Failed")


def judged(place: Place, name: str, argo: str, flux: str) -> None:
    """Wait until both see a study so."""
    script, expressions = health_script(), flux_expressions()

    def holds() -> bool:
        study = place.get("study", name)
        return (argo_health(study, script)[0], flux_status(study, expressions)) == (argo, flux)

    wait_for(holds, seconds=60, what=f"{name}: {argo} and {flux}")


def test_the_health_script_is_installed_as_documented(installed: ControlPlane) -> None:
    """The page's command adds one key to Argo CD's ConfigMap, and takes none away."""
    installed.kubectl("create", "namespace", "argocd")
    installed.kubectl("create", "configmap", "argocd-cm", "--namespace=argocd", "--from-literal=url=https://argocd")
    (command,) = (block for block in PAGE.split("```") if "argocd-cm" in block and "kubectl" in block)
    kubectl = f"{installed._binaries.kubectl} --kubeconfig {installed.kubeconfig}"
    script = command.replace("kubectl ", f"{kubectl} ")
    subprocess.run(["/bin/sh", "-ec", script], cwd=ROOT, capture_output=True, text=True, check=True)
    data = read_objects(installed, "argocd", "configmap", "argocd-cm")["data"]
    key = "resource.customizations.health.infpop.io_ThroughputStudy"
    assert data == {"url": "https://argocd", key: health_script()}
    installed.kubectl("delete", "namespace", "argocd", "--wait=false")
