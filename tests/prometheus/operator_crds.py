"""The CustomResourceDefinitions of the Prometheus Operator, from its own Go module."""

import os
from pathlib import Path
from typing import Literal

from gobuild import download_module

_MODULE = "github.com/prometheus-operator/prometheus-operator"
_VERSION = "v0.85.0"
_CHECKSUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="


def operator_crd(plural: Literal["podmonitors", "prometheusrules", "servicemonitors"]) -> Path:
    """Return the file with the definition of a kind.

    Raises:
        MissingToolError: Go is missing and cannot be installed, or the module's content does not match its checksum.
        subprocess.CalledProcessError: the download failed.
    """
    folder = download_module(_MODULE, version=_VERSION, checksum=_CHECKSUM, environment=dict(os.environ))  # noqa: TID251 - the edge of the tests
    return folder / "example" / "prometheus-operator-crd" / f"monitoring.coreos.com_{plural}.yaml"
