"""The built images work under a cluster's restrictions: read-only, without capabilities, as user 65532.

It builds missing images, as root: many minutes the first time.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.specs import make_run_spec, make_simulated_spec
from images.build import Images, build_images, cache_folder
from images.buildah import Buildah
from images.confined import run_confined
from infpop_operator.adapters.kube import job_manifest
from infpop_runner.contract import RunResult, RunSpec

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

MODEL = {"name": "/models/tiny-llama", "dtype": "float32"}
PROMPTS = {"samples": 4, "max_new_tokens": 4}
MOST_MEGABYTES_OF_THE_OPERATOR = 460  # unpacked, of which 130 are Debian and its Python
ENGINES = ("nvidia-cu", "torch", "transformers", "triton", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The images, and the tools that mount and run them."""

    images: Images
    buildah: Buildah


@pytest.fixture(scope="module")
def built() -> Built:
    """Build every image."""
    images = build_images(report=lambda line: print(line, flush=True))  # noqa: T201 - of a build that takes minutes
    return Built(images=images, buildah=Buildah(cache_folder(os.environ) / "storage"))  # noqa: TID251 - the edge


def carry_out(built: Built, spec: RunSpec) -> RunResult:
    """Return the result of a run in the runner's image."""
    environment = {**job_manifest._ENVIRONMENT, "INFPOP_RUN_SPEC": spec.model_dump_json()}
    reference = built.images.runner.reference
    done = run_confined(built.buildah, reference, "infpop-runner", environment=environment, timeout_seconds=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return RunResult.model_validate_json(done.stdout.splitlines()[-1])


def test_the_operators_image_is_small_and_has_no_engine(built: Built) -> None:
    """It contains the deciding side, no engine, no tests, and neither pip nor a compiler."""
    with built.buildah.mounted(built.images.operator.reference) as files:
        size = sum(path.lstat().st_size for path in files.rglob("*") if path.is_file() and not path.is_symlink())
        packages = {path.name for path in (files / "opt/infpop/lib").glob("python3*/site-packages/*")}
        programs = {path.name for path in files.glob("usr/bin/*")} | {path.name for path in files.glob("opt/*/bin/*")}
    assert size / 1e6 < MOST_MEGABYTES_OF_THE_OPERATOR
    assert not [name for name in packages if name.startswith(ENGINES)]
    assert not {"pip", "gcc", "cc"} & programs


def test_the_operators_image_has_its_bytecode(built: Built) -> None:
    """With a read-only root, each start of a Pod is as fast as a second start on a machine."""
    program = "import infpop_operator.cli.operator; from infpop_operator.core.search import warm_up; warm_up()"
    operator = built.images.operator.reference
    done = run_confined(built.buildah, operator, "python", "-v", "-c", program, timeout_seconds=120)
    assert done.returncode == 0, done.stderr[-4000:]
    compiled = re.findall(r"code object from '(/opt/\S+)'", done.stderr)
    assert compiled
    assert [path for path in compiled if not path.endswith(".pyc")] == []


def test_the_operators_image_prints_the_schema(built: Built) -> None:
    """The image prints the same CRD as the chart contains."""
    done = run_confined(built.buildah, built.images.operator.reference, "infpop", "crds", timeout_seconds=120)
    assert done.stdout == (Path(__file__).parents[2] / "crds/infpop.io_throughputstudies.yaml").read_text()


def test_the_operator_names_what_it_lacks(built: Built) -> None:
    """Without a cluster it exits with a clear message, and needs neither a writable root nor a known user."""
    done = run_confined(built.buildah, built.images.operator.reference, "infpop", "operator", timeout_seconds=120)
    assert done.returncode == 2
    assert "The operator cannot start." in done.stderr


def test_the_runner_left_the_engine_as_it_was(built: Built) -> None:
    """Each package of the engine's image has the same version, and added packages are pinned."""
    with built.buildah.mounted(built.images.runner.reference) as files:
        engine, added = (
            (files / "usr/share/infpop" / name).read_text().split() for name in ("engine.txt", "added.txt")
        )
    program = "from importlib.metadata import distributions; import json; "
    program += "print(json.dumps(sorted({f'{d.name}=={d.version}' for d in distributions()})))"
    done = run_confined(built.buildah, built.images.runner.reference, "python3", "-c", program, timeout_seconds=120)
    names = {line.lower().replace("_", "-").replace(".", "-") for line in json.loads(done.stdout)}
    assert {line.lower().replace("_", "-").replace(".", "-") for line in (*engine, *added)} == names
    assert "infpop" in {line.partition("==")[0] for line in added}
    assert not [line for line in added if line.startswith(ENGINES)]


def test_the_runner_carries_out_a_simulated_run(built: Built) -> None:
    """The command, its metrics server and its result need no engine."""
    result = carry_out(built, make_simulated_spec(batches=(4, 8)))
    assert [trial.outcome for trial in result.trials] == ["measured", "measured"]


@pytest.mark.parametrize("engine", ["vllm", "hf-pipeline"])
def test_the_runner_measures_with_a_real_engine(built: Built, engine: str) -> None:
    """One image serves both engines, with a model inside it, and writes only to its volumes."""
    settings: dict[str, Any] = {"name": engine, "enforce_eager": True, "max_num_batched_tokens": 2048}
    result = carry_out(built, make_run_spec(model=MODEL, engine=settings, workload=PROMPTS))
    assert result.broken is None
    assert [trial.outcome for trial in result.trials] == ["measured"]
