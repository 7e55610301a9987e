"""`infpop export`: from where it takes a result, which result, where it writes it, and when it refuses."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.api_server import STUDIES, api_server
from infpop_operator.cli.main import app
from local.local_studies import run_infpop, write_study
from report.study_objects import Body, at_instant, ended, make_document, refused, snapshots_of

DONE = ended()
BEST = DONE["status"]["best"]


def invoke(*arguments: object) -> Result:
    """Run the command line in this process, on a terminal of 80 columns."""
    return CliRunner().invoke(app, ["export", *map(str, arguments)], env={"COLUMNS": "80"})


def write_results(directory: Path, body: Body = DONE) -> Path:
    """Write the files of a tuned study as `infpop tune` does, and return their directory."""
    results = directory / "results"
    results.mkdir()
    document = {key: body[key] for key in ("apiVersion", "kind", "spec")}
    (results / "study.yaml").write_text(yaml.safe_dump({**document, "metadata": {"name": "codellama"}}))
    status = {key: value for key, value in body["status"].items() if key != "observedGeneration"}
    (results / "status.json").write_text(json.dumps(status))
    return results


def exported(body: Body, directory: Path, *arguments: str) -> Result:
    """Export the study `codellama`, which the cluster has as `body`."""
    answers = {f"{STUDIES}/codellama": (200, body)}
    with api_server(answers, directory) as config:
        return invoke("study/codellama", *(arguments or ("--format", "kserve")), "--kubeconfig", config)


def in_progress() -> Body:
    """Return a study that searches, and has a best so far."""
    document = make_document()
    return at_instant(document, snapshots_of(document)[-3])


@pytest.mark.process
def test_what_tune_writes_can_be_exported(tmp_path: Path) -> None:
    """A study tuned on this machine is exported from its directory; a simulated one says so, in comments and object."""
    assert run_infpop("tune", write_study(tmp_path), cwd=tmp_path).returncode == 0
    done = run_infpop("export", "infpop-results/study", "--format", "kustomize", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "# SIMULATED: the throughput is replayed, nothing was measured.\n" in done.stdout
    tree = yaml.safe_load(done.stdout)
    assert tree["metadata"] == {"name": "study", "annotations": {"infpop.io/simulated": "true"}}
    container = tree["spec"]["template"]["spec"]["containers"][0]
    assert container == {"name": "vllm", "args": ["--gpu-count=2", "--batch-size=8"]}
    refused = run_infpop("export", "infpop-results/study", "--format", "kserve", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "engine simulated" in refused.stderr


@pytest.mark.parametrize("file", ["", "status.json"])
def test_a_result_directory_is_exported(tmp_path: Path, file: str) -> None:
    """The directory of `infpop tune` and its status.json are the same source; only the result is printed."""
    results = write_results(tmp_path)
    result = invoke(results / file, "--format", "vllm-args")
    assert result.exit_code == 0
    assert result.stdout.split() == BEST["engineArgs"]
    assert "8 GPUs, batch size 256 on pool a100 (NVIDIA-A100-SXM4-40GB)" in result.stderr


def test_a_study_on_a_cluster_is_exported(tmp_path: Path) -> None:
    """One request reads it, in the namespace of the context; the object has the study's name."""
    result = exported(DONE, tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    tree = yaml.safe_load(result.stdout)
    assert tree["metadata"]["name"] == "codellama"
    assert tree["spec"]["template"]["containers"][0]["args"] == BEST["engineArgs"]
    assert (tmp_path / "requests").read_text() == f"{STUDIES}/codellama\n"


def test_a_study_saved_as_json_is_exported(tmp_path: Path) -> None:
    """What `kubectl get -o json` printed is a source too, without a cluster."""
    file = tmp_path / "study.json"
    file.write_text(json.dumps(DONE))
    assert invoke(file, "--format", "vllm-args").stdout.split() == BEST["engineArgs"]


def test_the_output_can_be_a_file(tmp_path: Path) -> None:
    """With --output nothing is printed, and the file replaces an older one."""
    results, file = write_results(tmp_path), tmp_path / "patch.yaml"
    file.write_text("old")
    result = invoke(results, "--format", "kustomize", "--name", "chat", "--container", "server", "--output", file)
    assert (result.exit_code, result.output) == (0, "")
    tree = yaml.safe_load(file.read_text())
    assert tree["metadata"]["name"] == "chat"
    assert tree["spec"]["template"]["spec"]["containers"][0]["name"] == "server"


def test_the_image_of_the_measurement_serves_unless_another_is_named(tmp_path: Path) -> None:
    """A study on a cluster knows its image; one on this machine has none."""
    body = {**DONE, "status": {**DONE["status"]}}
    body["status"]["pools"] = [{**row, "image": "registry.example.com/vllm:1"} for row in DONE["status"]["pools"]]
    arguments = ("--format", "production-stack")
    (model,) = yaml.safe_load(exported(body, tmp_path, *arguments).stdout)["servingEngineSpec"]["modelSpec"]
    assert (model["repository"], model["tag"]) == ("registry.example.com/vllm", "1")
    chosen = exported(body, tmp_path, *arguments, "--image", "vllm:2").stdout
    assert yaml.safe_load(chosen)["servingEngineSpec"]["modelSpec"][0]["repository"] == "vllm"
    results = write_results(tmp_path)
    assert "--image:" in refusal(2, results, *arguments)
    result = invoke(results, *arguments, "--image", "vllm/vllm-openai:v0.19.1")
    assert yaml.safe_load(result.stdout)["servingEngineSpec"]["modelSpec"][0]["tag"] == "v0.19.1"


def refusal(code: int, *arguments: object) -> str:
    """Return the message of a command that must print no result and end with this code."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), (result.exception, result.output)
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_best_that_may_change_is_exported_only_on_request(tmp_path: Path) -> None:
    """A pipeline must not deliver a result that changes in an hour; who wants it anyway gets it with a comment."""
    result = exported(in_progress(), tmp_path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "its search has not ended" in result.stderr
    assert "infpop status codellama -n serving" in result.stderr
    result = exported(in_progress(), tmp_path, "--format", "kserve", "--newest")
    assert result.exit_code == 0
    assert "# The search has not ended: this is its best so far.\n" in result.stdout


def with_published(body: Body) -> Body:
    """Return a study that publishes an older result, of another model and image, with four GPUs."""
    args = ["--tensor-parallel-size=4", "--max-num-seqs=64"]
    published = {
        **BEST,
        "gpuCount": 4,
        "batchSize": 64,
        "engineArgs": args,
        "model": "example/before",
        "engine": "vllm",
        "image": "registry.example.com/vllm:before",
        "gpu": "Tesla-V100-SXM2-32GB",
        "at": "2026-01-01T00:00:00Z",
        "reason": "FirstResult",
        "message": "",
    }
    return {**body, "status": {**body["status"], "published": published}}


@pytest.mark.parametrize("body", [DONE, in_progress()], ids=["ended", "in progress"])
def test_what_is_published_is_exported(tmp_path: Path, body: Body) -> None:
    """It changes only for a reason larger than the noise, so an exported file is as stable as the ConfigMap is."""
    arguments = ("--format", "production-stack")
    result = exported(with_published(body), tmp_path, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    (model,) = yaml.safe_load(result.stdout)["servingEngineSpec"]["modelSpec"]
    assert model["vllmConfig"] == {"tensorParallelSize": 4, "maxNumSeqs": 64}
    assert (model["modelURL"], model["tag"], model["requestGPU"]) == ("example/before", "before", 4)
    comments = " ".join(line for line in result.stdout.splitlines() if line.startswith("#"))
    assert "pool a100 (Tesla-V100-SXM2-32GB)" in comments
    assert "Published since 2026-01-01T00:00:00+00:00 (FirstResult)." in comments
    assert "best is another configuration now (8 GPUs, batch size 256 on pool a100); --newest exports it" in comments


def test_the_newest_best_is_exported_on_request(tmp_path: Path) -> None:
    """The comment says that it is not what the study publishes, unless it is the same configuration."""
    result = exported(with_published(DONE), tmp_path, "--format", "kserve", "--newest")
    assert yaml.safe_load(result.stdout)["spec"]["template"]["containers"][0]["args"] == BEST["engineArgs"]
    assert "# This is not what the study publishes.\n" in result.stdout
    same = with_published(DONE)
    same["status"]["published"] |= {"gpuCount": BEST["gpuCount"], "batchSize": BEST["batchSize"]}
    assert "not what the study publishes" not in exported(same, tmp_path, "--format", "kserve", "--newest").stdout
    assert "another configuration" not in exported(same, tmp_path).stdout


def test_a_number_that_was_taken_over_says_so(tmp_path: Path) -> None:
    """Who reviews an exported file sees that another study measured it."""
    body = {**DONE, "status": {**DONE["status"], "best": {**BEST, "reusedFrom": "codellama-first"}}}
    assert "# Measured by study codellama-first; this study took its number over.\n" in exported(body, tmp_path).stdout


def test_a_result_of_a_spec_that_the_operator_has_not_seen_may_change(tmp_path: Path) -> None:
    """After an edit the status describes the old spec, so its best need not be that of the new one."""
    edited = {**DONE, "metadata": {**DONE["metadata"], "generation": 2}}
    result = exported(edited, tmp_path)
    assert result.exit_code == 3
    assert "its search has not ended" in result.stderr


def test_a_study_without_a_result_says_why(tmp_path: Path) -> None:
    """The message has the reason of the study's condition Ready, and where to see more."""
    result = exported(refused(make_document()), tmp_path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "has no result (InvalidSpec" in result.stderr
    results = write_results(tmp_path, {**make_document(), "status": {}})
    assert "Run infpop tune again" in refusal(3, results, "--format", "kserve")


def test_a_result_without_arguments_is_refused(tmp_path: Path) -> None:
    """A version of InfPop that did not record them cannot have its result served."""
    best = {**BEST, "engineArgs": []}
    results = write_results(tmp_path, {**DONE, "status": {**DONE["status"], "best": best}})
    assert "did not record its engine arguments" in refusal(2, results, "--format", "kserve")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("status.json: does not exist", "study/NAME")),
        ("{", ("status.json: is not JSON",)),
        ("[]", ("status.json: is not the status of a study",)),
        ('{"conditions": "none"}', ("status.conditions", "Use the version of infpop")),
        ('{"kind": "ThroughputStudy"}', ("status.json: is not a study as the API server has it", "metadata")),
        ('{"kind": "ThroughputStudy", "metadata": []}', ("is not a study as the API server has it",)),
        ('{"kind": "ThroughputStudy", "metadata": {"name": "x"}, "spec": 1}', ("is not a study",)),
    ],
)
def test_a_source_that_is_no_result_is_refused(tmp_path: Path, content: str | None, parts: tuple[str, ...]) -> None:
    """The message names the file, what is wrong with it, and what a source can be."""
    results = write_results(tmp_path)
    status = results / "status.json"
    status.unlink() if content is None else status.write_text(content)
    message = refusal(2, results, "--format", "kserve")
    assert [part for part in parts if part not in message] == []


def test_a_status_without_its_study_is_refused(tmp_path: Path) -> None:
    """The model and the engine stand in study.yaml, so both files are needed."""
    results = write_results(tmp_path)
    (results / "study.yaml").unlink()
    message = refusal(2, results / "status.json", "--format", "kserve")
    assert "study.yaml: does not exist" in message
    (results / "study.yaml").write_text("kind: Deployment")
    assert "Keep status.json and the study.yaml of the same study in one directory" in refusal(
        2, results, "--format", "kserve"
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--namespace", "serving"), ("--namespace: serving", "study/NAME")),
        (("--kubeconfig", "x"), ("--kubeconfig: x", "study/NAME")),
        (("--name", "A b"), ("--name: A b", "lower-case")),
        (("--container", ""), ("--container:", "lower-case")),
        (("--image", "a b"), ("--image: a b", "REPOSITORY")),
        (("--output", "none/out.yaml"), ("--output: none/out.yaml", "exists")),
    ],
)
def test_a_wrong_option_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str], parts: tuple[str, ...]
) -> None:
    """The message names the option, its value and the remedy, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    results = write_results(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    message = refusal(2, results, "--format", "kserve", *arguments)
    assert [part for part in parts if part not in message] == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cluster_that_does_not_answer_is_not_bad_input(tmp_path: Path) -> None:
    """A script can tell a mistake from an outage by the exit code, as with `infpop status`."""
    with api_server({}, tmp_path) as config:
        pass
    result = invoke("study/codellama", "--format", "kserve", "--kubeconfig", config)
    assert (result.exit_code, result.stdout) == (1, "")


def test_help_fits_a_terminal_of_80_columns() -> None:
    """Every format stands on one line of its own."""
    lines = invoke("--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for form in ("vllm-args", "kustomize", "helm-values", "kserve", "production-stack", "rayservice"):
        assert any(line.strip().startswith(f"{form}: ") for line in lines)
