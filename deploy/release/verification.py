"""Install and run what `dist/` has, in clean environments.

Each environment is a new virtual environment, without this checkout's variables, in a folder outside it. The studies
come out of the source distribution. What a cluster or a GPU does with a release is not tried here: `make e2e` installs
the chart on real kubelets.
"""

import json
import re
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from release.artifacts import IMAGES, Artifacts, image_name
from release.commands import run
from release.errors import ReleaseError

_STUDY = "examples/simulated.yaml"
_CLUSTER_STUDY = "examples/cluster/codellama-7b.yaml"
_Result = TypeVar("_Result")
_NOWHERE = "registry.invalid"  # RFC 2606: a registry that cannot exist, for a chart that is only rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A package in its own environment.

    Attributes:
        package: the file that was installed.
        program: the path of its `infpop`.
        sentence: what was tried with it, and how long that took.
    """

    package: Path
    program: Path
    sentence: str


def verify(artifacts: Artifacts, *, uv: str, helm: str, registry: str | None, lock: Path, scratch: Path) -> list[str]:
    """Try all files of a release and return a sentence for each.

    Args:
        artifacts: the files.
        uv: the program that installs.
        helm: the program that renders.
        registry: where the packaged chart finds the images; None if its values were left alone.
        lock: the locked packages of the operator's image.
        scratch: an empty folder for the environments.

    Raises:
        ReleaseError: a file is missing, cannot be installed, or does not do what it should.
    """
    for file in (artifacts.wheel, artifacts.source, artifacts.chart, artifacts.bill):
        if not file.exists():
            raise ReleaseError(f"{file} is missing. Run: make release-dry-run")
    studies = _unpack(artifacts.source, scratch / "sources")

    def tried(package: Path) -> Installed:
        return _install_and_run(package, artifacts.version, uv=uv, studies=studies, folder=scratch / package.name)

    with ThreadPoolExecutor() as pool:
        installed = list(pool.map(tried, (artifacts.wheel, artifacts.source)))
    return [
        *(each.sentence for each in installed),
        verify_chart(artifacts, helm=helm, registry=registry, crds=run(str(installed[0].program), "crds")),
        verify_bill(artifacts, lock.read_text()),
    ]


def verify_chart(artifacts: Artifacts, *, helm: str, registry: str | None, crds: str) -> str:
    """Render the packaged chart and return a sentence about it.

    Args:
        artifacts: the files.
        helm: the program.
        registry: where its values name the images; None if they have to be set.
        crds: what the released `infpop crds` prints.

    Raises:
        ReleaseError: it does not render, or renders other images or another CustomResourceDefinition.
    """
    images = {name: f"{image_name(registry or _NOWHERE, name)}:{artifacts.version}" for name in IMAGES}
    options = (
        []
        if registry
        else [
            f"--set=image.repository={image_name(_NOWHERE, 'operator')}",
            f"--set=runner.image.repository={image_name(_NOWHERE, 'runner')}",
        ]
    )
    # The oldest Kubernetes that it supports: helm's own default depends on how helm was built.
    oldest = (
        yaml.safe_load(run(helm, "show", "chart", str(artifacts.chart)))["kubeVersion"].strip(">=").removesuffix("-0")
    )
    text = run(helm, "template", "infpop", str(artifacts.chart), "--kube-version", oldest, *options)
    documents = [document for document in yaml.safe_load_all(text) if document]
    for image in images.values():
        if image not in text:
            raise ReleaseError(f"{artifacts.chart.name} does not use the image {image}. See image in its values.yaml.")
    if [_spec_of_crd(documents)] != [_spec_of_crd(list(yaml.safe_load_all(crds)))]:
        raise ReleaseError(
            f"{artifacts.chart.name} has another CustomResourceDefinition than the wheel. Run: make crds"
        )
    return f"{_described(artifacts.chart)}: renders {len(documents)} objects, with the wheel's CustomResourceDefinition"


def verify_bill(artifacts: Artifacts, lock: str) -> str:
    """Compare the bill of materials with the locked packages and return a sentence about it.

    Args:
        artifacts: the files.
        lock: the text of requirements-operator.txt.

    Raises:
        ReleaseError: a package is missing or has another version, or the bill is that of another version of InfPop.
    """
    bill = json.loads(artifacts.bill.read_text())
    subject = bill["metadata"]["component"]
    if (subject.get("name"), subject.get("version")) != ("infpop", artifacts.version):
        raise ReleaseError(
            f"{artifacts.bill.name} is of {subject.get('name')} {subject.get('version')}. Run: make sbom"
        )
    listed = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    wanted = _locked(lock)
    for name, version in wanted.items():
        if listed.get(name) != version:
            raise ReleaseError(f"{artifacts.bill.name} has {name} {listed.get(name)}, not {version}. Run: make sbom")
    return f"{_described(artifacts.bill)}: names infpop {artifacts.version} and all {len(wanted)} packages of the lock"


def _install_and_run(package: Path, version: str, *, uv: str, studies: Path, folder: Path) -> Installed:
    """Install a package in a new environment and run its commands, a whole simulated study included."""
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    python, program = folder / "environment/bin/python", folder / "environment/bin/infpop"

    def infpop(*arguments: str) -> str:
        return run(str(program), *arguments, folder=folder, environment=environment)

    folder.mkdir()
    run(uv, "venv", "--quiet", "--python", sys.executable, str(folder / "environment"))
    requirement = f"infpop[operator] @ {package.resolve().as_uri()}"
    _, install_s = _timed(lambda: run(uv, "pip", "install", "--quiet", "--python", str(python), requirement))
    printed = infpop("--version").split()
    if printed[-1:] != [version]:
        raise ReleaseError(f"{package.name} installs a command that says {' '.join(printed)}, not version {version}.")
    infpop("validate", str(studies / _STUDY))
    infpop("validate", "--for", "cluster", str(studies / _CLUSTER_STUDY))
    status, tune_s = _timed(lambda: json.loads(infpop("tune", str(studies / _STUDY), "--json", "--no-report")))
    return Installed(
        package=package,
        program=program,
        sentence=f"{_described(package)}: installed in {install_s:.1f} s; infpop {version} validates the examples and "
        f"tunes {Path(_STUDY).name} in {tune_s:.1f} s: {_best(status)}",
    )


def _best(status: Mapping[str, Any]) -> str:
    best = status.get("best")
    if best is None:
        raise ReleaseError(f"infpop tune {_STUDY} found no best configuration: {status.get('conditions')}")
    return f"{best['gpuCount']} GPUs, batch size {best['batchSize']}"


def _unpack(source: Path, folder: Path) -> Path:
    """Unpack a source distribution and return its top folder."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def _spec_of_crd(documents: list[dict[str, Any]]) -> object:
    return next(each["spec"] for each in documents if each["kind"] == "CustomResourceDefinition")


def _locked(lock: str) -> dict[NormalizedName, str]:
    """Return the version of each package that is locked for this Python, by normal name."""
    lines = re.findall(r"(?m)^([A-Za-z0-9][^\\\n]*)", lock)
    wanted = [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in wanted}


def _described(file: Path) -> str:
    return f"{file.name} ({file.stat().st_size / 1e6:.2f} MB)"


def _timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    """Return what `work` returns and how long it took, in seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start
