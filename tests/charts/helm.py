"""Run helm as users do: render, lint, install. It is built from the control plane's Go module.

`PYTHONPATH=tests python -m charts.helm` prints the program's path.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from charts.boards import ROOT
from controlplane.binaries import KUBERNETES_VERSION, MODULE

CHART = ROOT / "charts" / "infpop"
PRESETS = CHART / "presets"
MONITORING = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "PrometheusRule", "ServiceMonitor"))
# The option that names the images.
IMAGES = f"--values={Path(__file__).parent / 'images.yaml'}"
SECONDS = 120.0
Document = dict[str, Any]


class HelmError(Exception):
    """Helm failed; the message is its own."""


def find_helm() -> Path:
    """Return the path of helm, which is built if it is missing."""
    return MODULE.programs(("helm",), dict(os.environ))["helm"]  # noqa: TID251 - the edge of the tests


def helm(*arguments: str, kubeconfig: Path | None = None, chart: Path | None = None) -> str:
    """Run helm and return its output.

    Args:
        arguments: the arguments of helm.
        kubeconfig: the kubeconfig of the cluster, for commands that need one.
        chart: replaces the argument `CHART`; by default InfPop's chart.

    Raises:
        HelmError: helm failed.
    """
    inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
    program = find_helm()
    given = [str(chart or CHART) if each == "CHART" else each for each in arguments]
    with tempfile.TemporaryDirectory(prefix="helm-") as home:
        folders = {f"HELM_{kind}_HOME": f"{home}/{kind}" for kind in ("CACHE", "CONFIG", "DATA")}
        whose = {} if kubeconfig is None else {"KUBECONFIG": str(kubeconfig)}
        answer = subprocess.run(
            [str(program), *given],
            env={**inherited, **folders, **whose},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    if answer.returncode != 0:
        raise HelmError(f"helm {' '.join(arguments)}: {answer.stderr.strip()}{answer.stdout.strip()}")
    return answer.stdout


def template(
    *options: str,
    values: Mapping[str, Any] | None = None,
    release: str = "infpop",
    namespace: str = "infpop",
    apis: Sequence[str] = MONITORING,
    images: str = IMAGES,
) -> str:
    """Return the text that helm would install.

    Args:
        options: extra options, for example `--values=FILE`.
        values: the values of this rendering.
        release: the name of the release.
        namespace: the namespace of the release.
        apis: the API versions that the cluster has in addition to Kubernetes' own.
        images: the option that names the images; `options` and `values` override it.

    Raises:
        HelmError: the chart or its schema refuses the values.
    """
    known = [option for api in apis for option in ("--api-versions", api)]
    given = ("template", release, "CHART", f"--namespace={namespace}", f"--kube-version={KUBERNETES_VERSION}")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values or {}), file)
        file.flush()
        return helm(*given, *known, images, *options, f"--values={file.name}")


def rendered(*options: str, **keywords: Any) -> list[Document]:  # noqa: ANN401 - as `template`
    """Return the documents that helm would install; the arguments are those of `template`."""
    return [document for document in yaml.safe_load_all(template(*options, **keywords)) if document]


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    """Return the documents of a kind."""
    return [document for document in documents if document["kind"] == kind]


if __name__ == "__main__":
    sys.stdout.write(f"{find_helm()}\n")
