"""Start and end of the operator's process: wrong settings are reported immediately, and failures set an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import kopf
import pytest

from infpop_operator.adapters.kube.connection import Credentials
from infpop_operator.core.errors import SettingError
from infpop_operator.handlers.login import to_connection_info
from infpop_operator.handlers.registration import configure
from infpop_operator.settings import Settings, check_watched

KUBECONFIG = """
{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
 "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
 "users": [{"name": "u", "user": {"token": "secret"}}]}
"""
# The operator with a service that has no client: its first request fails as only a defect does.
BROKEN = """
import contextlib, time
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.service import Service
from infpop_operator.handlers import operator

@contextlib.asynccontextmanager
async def open_service(settings, find):
    metrics = OperatorMetrics(time.monotonic)
    yield Service(None, None, settings, metrics=metrics, clock=operator._now, monotonic=time.monotonic)

operator.open_service = open_service
operator.run_operator(namespace="serving")
"""


def ended(home: Path, *command: str, kubeconfig: str | None = None, **environment: str) -> tuple[int, str]:
    """Run Python with arguments, without any other configuration; return the exit code and its whole output."""
    (home / "kubeconfig").write_text(KUBECONFIG)
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(("KOPF", "INFPOP", "KUBE"))}  # noqa: TID251 - a child starts with it
    environment = {**inherited, "HOME": str(home), "KUBECONFIG": kubeconfig or str(home / "kubeconfig"), **environment}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_without_a_connection_the_operator_does_not_start(tmp_path: Path) -> None:
    """It ends immediately, names what is missing, and uses the exit code for bad input."""
    code, said = ended(tmp_path, "-m", "infpop_operator.cli.main", "operator", kubeconfig="/nonexistent")
    assert code == 2, said
    assert "/nonexistent: no such file" in said
    assert "Traceback" not in said


def test_kopf_run_without_a_connection_ends(tmp_path: Path) -> None:
    """Kopf retries failures, so a setting that cannot fix itself must end the process."""
    code, said = ended(tmp_path, "-m", "kopf", "run", "-A", "-m", "infpop_operator.main", kubeconfig="/nonexistent")
    assert code != 0
    assert "/nonexistent: no such file" in said


def test_an_operator_whose_own_tasks_fail_exits_as_failed(tmp_path: Path) -> None:
    """The supervisor restarts the process and sees that something was wrong."""
    code, said = ended(tmp_path, "-c", BROKEN)
    assert code != 0
    assert "the operator's own tasks have ended" in said


def test_kopf_run_and_the_operator_agree_on_the_namespace(tmp_path: Path) -> None:
    """Otherwise it would watch one namespace and act on all of them."""
    code, said = ended(tmp_path, "-m", "kopf", "run", "-n", "team-a", "-m", "infpop_operator.main")
    assert code == 2, said
    assert "kopf was started with --namespace team-a, but INFPOP_NAMESPACE is unset" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("namespace", "watched"), [(None, ["a"]), ("a", []), ("a", ["b"]), ("a", ["a", "b"]), (None, ["a", "b"])]
)
def test_another_scope_than_the_settings_is_refused(namespace: str | None, watched: list[str]) -> None:
    """The error names both scopes and what to set."""
    with pytest.raises(SettingError, match=r"^kopf was started with .*, but INFPOP_NAMESPACE is .* Set both"):
        check_watched(Settings(namespace=namespace), watched)


def test_the_same_scope_is_fine() -> None:
    """The scope is one namespace, or all of them."""
    check_watched(Settings(), [])
    check_watched(Settings(namespace="a"), ["a"])


@pytest.mark.parametrize("namespace", [None, "serving"])
def test_nothing_of_the_whole_cluster_is_scanned_for_one_namespace(namespace: str | None) -> None:
    """A Role cannot grant listing namespaces and CRDs."""
    settings = kopf.OperatorSettings()
    configure(settings, Settings(namespace=namespace))
    assert settings.scanning.disabled == (namespace is not None)


def test_kopf_goes_through_the_same_proxy() -> None:
    """A kubeconfig's proxy-url applies to both clients."""
    found = Credentials(
        server="https://api",
        ca_path=None,
        certificate_path=None,
        private_key_path=None,
        token="t",  # noqa: S106 - of a test
        insecure=False,
        proxy="http://proxy:3128",
    )
    info = to_connection_info(found)
    assert (info.proxy_url, info.server, info.scheme, info.token) == (found.proxy, found.server, "Bearer", "t")
