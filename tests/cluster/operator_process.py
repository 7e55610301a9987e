"""The operator as a process beside the control plane, with the rights that the README gives it."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster.operator_fork import Fork, Prepare, as_it_is, fork_operator
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from infpop_operator.api.resource import GROUP, NAME, PLURAL

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / f"{GROUP}_{PLURAL}.yaml"
RBAC = ROOT / "examples" / "cluster" / "rbac.yaml"
SERVICE_ACCOUNT = ("infpop", "infpop-operator")  # namespace and name
IMAGE = "example.org/runner:1"
# Nothing of this may ever stand in the operator's log.
FORBIDDEN_WORDS = ("inconsistencies", "forbidden", "Traceback")


def install_operator(cluster: ControlPlane) -> None:
    """Install the CRD and the operator's rights as the README says."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRD), "-f", str(RBAC))
    wait_for(lambda: cluster.is_established(NAME), seconds=60, what="the CRD")


class OperatorProcess:
    """The operator under the rights of its service account; its log is a file. No namespace means all of them.

    Args:
        cluster: where it works.
        directory: for its log.
        namespace: the only one that it watches.
        prepare: called in the new process before the operator begins, to change it.
        environment: variables beside those of this process.
        proxied: go through the cluster's proxy.
        account: namespace and name of its service account.
    """

    def __init__(
        self,
        cluster: ControlPlane,
        directory: Path,
        *,
        namespace: str | None,
        prepare: Prepare = as_it_is,
        environment: Mapping[str, str] | None = None,
        proxied: bool = False,
        account: tuple[str, str] = SERVICE_ACCOUNT,
    ) -> None:
        self.log = directory / "operator.log"
        scope = () if namespace is None else ("--namespace", namespace)
        self._arguments = ("--kubeconfig", str(cluster.kubeconfig_for(*account, proxied=proxied)), *scope)
        inherited = dict(os.environ)  # noqa: TID251 - a child starts with it
        self._environment = {**inherited, "INFPOP_RUNNER_IMAGE": IMAGE, **(environment or {})}
        self._prepare = prepare
        self._process: Fork | None = None

    def start(self, *arguments: str) -> None:
        """Start it; the log continues where an earlier one ended."""
        argv = ("infpop", "operator", *self._arguments, *arguments)
        self._process = fork_operator(argv, environment=self._environment, log=self.log, prepare=self._prepare)

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._started.pid is not None
        return self._started.pid

    @property
    def _started(self) -> Fork:
        assert self._process is not None, "not started"
        return self._process

    def is_running(self) -> bool:
        """Say whether it has not ended."""
        return self._started.is_alive()

    def wait(self, seconds: float) -> int:
        """Return its exit code when it has ended; that of one that a signal killed is negative.

        Raises:
            TimeoutError: it has not ended by then.
        """
        self._started.join(seconds)
        if self._started.exitcode is None:
            raise TimeoutError(f"the operator has not ended within {seconds:g} s:\n{self.text()[-2000:]}")
        return self._started.exitcode

    def stop(self) -> int:
        """End it as Kubernetes does, and return its exit code."""
        if self.is_running():
            self._started.terminate()
        return self.wait(30)

    def kill(self) -> None:
        """End it as a lost node does."""
        self._started.kill()
        self.wait(10)

    def go_on(self) -> None:
        """Let it go on after SIGSTOP."""
        os.kill(self.pid, signal.SIGCONT)

    def text(self) -> str:
        """Return the whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def complaints(self) -> list[str]:
        """Return the lines of the log that must not be there."""
        return [line for line in self.text().splitlines() if any(word in line for word in FORBIDDEN_WORDS)]


@contextmanager
def running_operator(
    cluster: ControlPlane,
    directory: Path,
    *,
    namespace: str | None,
    environment: Mapping[str, str] | None = None,
    proxied: bool = False,
    account: tuple[str, str] = SERVICE_ACCOUNT,
) -> Iterator[OperatorProcess]:
    """Run the operator; afterwards its log must be clean."""
    process = OperatorProcess(
        cluster, directory, namespace=namespace, environment=environment, proxied=proxied, account=account
    )
    process.start()
    try:
        yield process
    finally:
        if process.is_running():
            process.stop()
    assert process.complaints() == []
