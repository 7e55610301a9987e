"""Helm, as people call it: render, lint, install. It comes from the Go module of the control plane."""

import os
import subprocess
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
SECONDS = 120.0
Document = dict[str, Any]


class HelmError(Exception):
    """Helm refused; the message is its own."""


def helm(*arguments: str, kubeconfig: Path | None = None, chart: Path | None = None) -> str:
    """Run helm and return what it wrote.

    Args:
        arguments: of helm.
        kubeconfig: whose cluster, where the command needs one.
        chart: put in place of the argument `CHART`, instead of ours.

    Raises:
        HelmError: it failed.
    """
    inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
    program = MODULE.programs(("helm",), inherited)["helm"]
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
) -> str:
    """Return what helm would install, as text.

    Args:
        options: further ones, `--values=FILE` for example.
        values: of this rendering.
        release: its name.
        namespace: where to.
        apis: what the cluster knows beside Kubernetes' own kinds.

    Raises:
        HelmError: the chart or its schema refuses.
    """
    known = [option for api in apis for option in ("--api-versions", api)]
    given = ("template", release, "CHART", f"--namespace={namespace}", f"--kube-version={KUBERNETES_VERSION}")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values or {}), file)
        file.flush()
        return helm(*given, *known, *options, f"--values={file.name}")


def rendered(*options: str, **keywords: Any) -> list[Document]:  # noqa: ANN401 - as `template`
    """Return what helm would install, as documents; arguments are those of `template`."""
    return [document for document in yaml.safe_load_all(template(*options, **keywords)) if document]


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    """Return the documents of a kind."""
    return [document for document in documents if document["kind"] == kind]
