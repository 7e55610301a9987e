"""A real control plane on this machine: etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

Plain processes that listen only on 127.0.0.1, with their own certificates and data in a folder given by the caller. No
root, no containers, no network device. It has no nodes: a Node is only an object here (`controlplane.nodes`), and tests
use `controlplane.kubelet` for the work of a kubelet. Real kubelets (`nodes`) need the API server at another address,
which the caller can set.
"""

import json
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from controlplane.admin import Admin
from controlplane.audit import AuditEntry, read_audit_log
from controlplane.binaries import Binaries, find_binaries
from controlplane.flags import LOOPBACK, Layout, apiserver_flags, controller_manager_flags, etcd_flags, scheduler_flags
from controlplane.kubeconfig import write_kubeconfig
from controlplane.pki import Pki
from controlplane.processes import Process, free_ports
from controlplane.proxy import Proxy
from controlplane.waiting import wait_for

START_SECONDS = 120.0  # four of them may start together on two cores
KUBECTL_SECONDS = 60.0
_A_DAY = {"expirationSeconds": 24 * 3600}


class ControlPlane:
    """A running control plane; `start_control_plane` creates one."""

    def __init__(
        self, directory: Path, binaries: Binaries, *, audit: bool, apiserver_arguments: Sequence[str], host: str
    ) -> None:
        etcd, etcd_peer, apiserver, controller_manager, scheduler, proxy = free_ports(6)
        self.directory = directory
        self._binaries = binaries
        self._issued = 0
        self._pki = Pki(directory / "pki")
        self._layout = Layout(
            directory=directory,
            pki=self._pki,
            host=host,
            etcd_port=etcd,
            etcd_peer_port=etcd_peer,
            apiserver_port=apiserver,
            controller_manager_port=controller_manager,
            scheduler_port=scheduler,
            audit_log=directory / "audit.log" if audit else None,
        )
        self.server = f"https://{host}:{apiserver}"
        self.proxy = Proxy((host, apiserver), port=proxy)
        self.proxied_server = f"https://{LOOPBACK}:{proxy}"
        self._issue_certificates()
        self.kubeconfig = self.user_kubeconfig("admin", groups=("system:masters",))
        self.admin = Admin(self.kubeconfig)
        self.etcd = self._process("etcd", binaries.etcd, etcd_flags(self._layout))
        self.apiserver = self._process(
            "kube-apiserver", binaries.kube_apiserver, [*apiserver_flags(self._layout), *apiserver_arguments]
        )
        self.controller_manager = self._process(
            "kube-controller-manager", binaries.kube_controller_manager, controller_manager_flags(self._layout)
        )
        self.scheduler = self._process("kube-scheduler", binaries.kube_scheduler, scheduler_flags(self._layout))

    @property
    def processes(self) -> tuple[Process, ...]:
        """The four programs, in the order in which they start."""
        return (self.etcd, self.apiserver, self.controller_manager, self.scheduler)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess calls it
        """Run kubectl as the administrator and return its output.

        Raises:
            AssertionError: kubectl failed; the message has its output.
        """
        answer = subprocess.run(
            [str(self._binaries.kubectl), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS,
            check=False,
        )
        assert answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr.strip()}"
        return answer.stdout

    def is_established(self, crd: str) -> bool:
        """Return whether the API server serves the CustomResourceDefinition of this name.

        `kubectl wait` and its jsonpath fail for one that has no conditions yet.
        """
        status = json.loads(self.kubectl("get", "crd", crd, "--output=json")).get("status", {})
        conditions = status.get("conditions") or ()
        return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)

    def user_kubeconfig(self, user: str, *, groups: tuple[str, ...] = (), proxied: bool = False) -> Path:
        """Return a kubeconfig for a user with a certificate; the group `system:masters` may do everything."""
        self._issued += 1
        name = f"user-{self._issued}"
        self._pki.issue(name, user=user, groups=groups)
        credentials = {
            "client-certificate": str(self._pki.certificate(name)),
            "client-key": str(self._pki.key(name)),
        }
        return self._kubeconfig(name, credentials, proxied=proxied)

    def kubeconfig_for(self, namespace: str, service_account: str, *, proxied: bool = False) -> Path:
        """Return a kubeconfig with the permissions of a service account and a token valid for a day.

        Args:
            namespace: the namespace of the account, and the default one of the kubeconfig.
            service_account: an existing account.
            proxied: connect through `proxy`, whose connections a test can cut.
        """
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": _A_DAY}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        token = self.admin.create(path, request)["status"]["token"]
        self._issued += 1
        return self._kubeconfig(f"account-{self._issued}", {"token": token}, namespace=namespace, proxied=proxied)

    @property
    def ca(self) -> Path:
        """The certificate of the authority that every component trusts."""
        return self._pki.ca

    def serving_certificate(self, name: str, *, hosts: tuple[str, ...]) -> tuple[Path, Path]:
        """Return the certificate and the key of a server in this cluster, valid for the `DNS:` and `IP:` names."""
        self._pki.issue(name, user=name, hosts=hosts)
        return self._pki.certificate(name), self._pki.key(name)

    def apiserver_stop(self) -> None:
        """Kill the API server: an outage. The proxy keeps accepting connections and closes them immediately."""
        self.apiserver.end(grace_seconds=0)

    def apiserver_start(self) -> None:
        """Start the API server again, at the same address with the same data, and wait until it is ready."""
        self.apiserver.start()
        self._wait("/readyz")

    def cut_watches(self) -> int:
        """Drop every connection through the proxy, including watches, and return their number."""
        return self.proxy.drop_connections()

    def audit_entries(self, *, about: str = "") -> list[AuditEntry]:
        """Return every request in the audit log so far, or only those whose text contains `about`.

        Raises:
            ValueError: the control plane was started without `audit=True`.
        """
        if self._layout.audit_log is None:
            raise ValueError("audit: this control plane keeps no audit log; start it with audit=True")
        return read_audit_log(self._layout.audit_log, about=about)

    def check(self) -> None:
        """Check that each started program is alive.

        Raises:
            ProcessDiedError: a program ended by itself.
        """
        for process in self.processes:
            process.check()

    @contextmanager
    def running(self) -> Iterator["ControlPlane"]:
        """Start everything and wait until Pods can be created; end everything when the block exits."""
        with ExitStack() as stack:
            stack.callback(self.admin.close)
            stack.enter_context(self.proxy)
            for process in self.processes[:2]:
                stack.callback(process.end)
                process.start()
            self._wait("/readyz")
            for process in self.processes[2:]:  # they exit immediately without an API server
                stack.callback(process.end)
                process.start()
            self._wait("/api/v1/namespaces/default/serviceaccounts/default")
            yield self

    def _issue_certificates(self) -> None:
        hosts = (
            "DNS:localhost",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            "IP:10.96.0.1",
            *(f"IP:{address}" for address in dict.fromkeys((LOOPBACK, self._layout.host))),
        )
        self._pki.issue("apiserver", user="kube-apiserver", hosts=hosts)
        self._pki.issue("apiclient", user="apiserver-kubelet-client", groups=("system:masters",))
        self._pki.issue_key_pair("sa")
        for name in ("kube-controller-manager", "kube-scheduler"):
            self._pki.issue(name, user=f"system:{name}")
            self._kubeconfig(
                name,
                {"client-certificate": str(self._pki.certificate(name)), "client-key": str(self._pki.key(name))},
            )

    def _kubeconfig(
        self, name: str, credentials: dict[str, str], *, namespace: str = "default", proxied: bool = False
    ) -> Path:
        server = self.proxied_server if proxied else self.server
        path = self._layout.kubeconfig(name)
        write_kubeconfig(path, server=server, ca=self._pki.ca, credentials=credentials, namespace=namespace)
        return path

    def _process(self, name: str, program: Path, flags: Sequence[str]) -> Process:
        return Process(name, (str(program), *flags), folder=self.directory)

    def _wait(self, path: str) -> None:
        context = ssl.create_default_context(cafile=str(self._pki.ca))
        context.load_cert_chain(self._pki.certificate("apiclient"), self._pki.key("apiclient"))
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))

        def answers() -> bool:
            self.check()
            try:
                with opener.open(f"{self.server}{path}", timeout=5.0) as answer:
                    return bool(answer.status == 200)
            except HTTPError as error:
                error.close()
                return False
            except OSError:
                return False

        wait_for(answers, seconds=START_SECONDS, what=f"{self.server}{path}")


@contextmanager
def start_control_plane(
    directory: Path,
    *,
    audit: bool = False,
    binaries: Binaries | None = None,
    apiserver_arguments: Sequence[str] = (),
    host: str = LOOPBACK,
) -> Iterator[ControlPlane]:
    """Run a control plane while the block lasts.

    Args:
        directory: an absolute path, empty or missing; it keeps the logs and the data, which are never removed.
        audit: log every request, for `audit_entries`.
        binaries: the programs; by default they are found or built.
        apiserver_arguments: extra flags of kube-apiserver.
        host: the address of this machine at which kube-apiserver listens, for nodes that cannot reach 127.0.0.1.

    Raises:
        ProcessDiedError: one of the programs ended during the start.
        TimeoutError: the control plane was not ready within two minutes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    cluster = ControlPlane(
        directory.resolve(),
        binaries or find_binaries(),
        audit=audit,
        apiserver_arguments=apiserver_arguments,
        host=host,
    )
    with cluster.running():
        yield cluster
