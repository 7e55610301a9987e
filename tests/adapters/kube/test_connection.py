"""Kubeconfigs as kubectl reads them; an invalid one is distinguished from a cluster that does not answer."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from infpop_operator.adapters.kube import connection as connection_module
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.connection import Connection, ConnectionConfigError, Credentials, find_connection

CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "one",
    "contexts": [
        {"name": "one", "context": {"cluster": "c", "user": "u"}},
        {"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "serving"}},
    ],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "users": [{"name": "u", "user": {"token": "secret"}}],
}


@pytest.fixture(autouse=True)
def in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let tests find only their own kubeconfig."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def write(path: Path, **changes: object) -> Path:
    """Write the valid kubeconfig with top-level keys replaced."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(copy.deepcopy(CONFIG) | changes))
    return path


def found(**options: str) -> Connection:
    """Return the connection that is found."""
    return asyncio.run(find_connection(**options))


def refused(**options: str) -> str:
    """Return the message for a connection that cannot be made."""

    async def connect() -> None:
        async with KubeClient(await find_connection(**options)):
            pass

    with pytest.raises(ConnectionConfigError) as caught:
        asyncio.run(connect())
    return str(caught.value)


def test_the_usual_places_are_searched_in_kubectls_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in the home directory comes last, KUBECONFIG before it, and the file given by the user first."""
    server = {"name": "c", "cluster": {"server": "https://home"}}
    write(tmp_path / ".kube" / "config", clusters=[server])
    assert found().credentials.server == "https://home"
    other = write(tmp_path / "other", clusters=[server | {"cluster": {"server": "https://variable"}}])
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{other}")
    assert found().credentials.server == "https://variable"
    assert found(kubeconfig=str(write(tmp_path / "named"))).credentials.server == "https://127.0.0.1:6443"
    monkeypatch.setenv("KUBECONFIG", "")
    assert found().credentials.server == "https://home"


def test_a_context_has_its_namespace(tmp_path: Path) -> None:
    """A context without a namespace uses `default`."""
    path = str(write(tmp_path / "config"))
    assert found(kubeconfig=path).namespace == "default"
    assert found(kubeconfig=path, context="two").namespace == "serving"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1", "is not a kubeconfig"),
        ("", "is not a kubeconfig"),
        ("[1, 2]", "is not a kubeconfig"),
        ("\0\1", "is not a kubeconfig"),
        ('{"apiVersion": "v1", "kind": "Config"}', "Expected key current-context"),
        (json.dumps(CONFIG | {"users": []}), "is not a kubeconfig"),
        (json.dumps(CONFIG | {"clusters": [{"name": "c", "cluster": {}}]}), "names no API server"),
        (json.dumps(CONFIG | {"clusters": [{"name": "c", "cluster": {"server": "not a url"}}]}), "names no API server"),
    ],
)
def test_a_file_that_is_not_a_kubeconfig_is_named(tmp_path: Path, text: str, part: str) -> None:
    """Whatever the file contains, the message names the file and the problem."""
    path = tmp_path / "config"
    path.write_text(text)
    message = refused(kubeconfig=str(path))
    assert str(path) in message
    assert part in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message names the missing file and how to give another."""
    assert f"{tmp_path}/.kube/config: no such file. Name one with --kubeconfig or KUBECONFIG" in refused()
    assert "Is a directory" in refused(kubeconfig=str(tmp_path))


def test_an_unknown_context_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    """A user who mistyped a context reads the valid names."""
    message = refused(kubeconfig=str(write(tmp_path / "config")), context="tow")
    assert "tow" in message
    assert "Known contexts: one, two" in message


@pytest.mark.parametrize("key", [{"certificate-authority": "/none/ca.crt"}, {"certificate-authority-data": "eHh4"}])
def test_certificates_that_cannot_be_read_are_a_matter_of_the_kubeconfig(tmp_path: Path, key: dict[str, str]) -> None:
    """A missing certificate file or invalid data is not reported as a cluster that is down."""
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:6443", **key}}
    assert refused(kubeconfig=str(write(tmp_path / "config", clusters=[cluster])))


@pytest.mark.parametrize(("header", "token"), [("Bearer a b", "a b"), ("plain", "plain"), (None, None)])
def test_credentials_are_those_of_the_connection(header: str | None, token: str | None) -> None:
    """Another client library gets each credential in its own field; printing a connection shows no token."""
    configuration = Configuration(host="https://server")
    configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file = "/ca", "/cert", "/key"
    configuration.verify_ssl, configuration.proxy = False, "http://proxy"
    if header is not None:
        configuration.api_key = {"BearerToken": header}
    connection = Connection(configuration=configuration, namespace="serving")
    assert connection.credentials == Credentials(
        server="https://server",
        ca_path="/ca",
        certificate_path="/cert",
        private_key_path="/key",
        token=token,
        insecure=True,
        proxy="http://proxy",
    )
    configuration.verify_ssl = True
    assert not connection.credentials.insecure
    assert "a b" not in f"{connection} {connection.credentials}"


@pytest.mark.parametrize(
    ("options", "is_inside"),
    [({}, True), ({"context": "two"}, False), ({"kubeconfig": "config"}, False), ({"KUBECONFIG": "config"}, False)],
)
def test_inside_a_pod_the_service_account_is_used_unless_something_else_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    is_inside: bool,  # noqa: FBT001
) -> None:
    """The namespace is the Pod's own, and the client library does not detect anything again."""
    monkeypatch.chdir(tmp_path)
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text("pod-namespace\n" if name == "namespace" else "secret")
    write(tmp_path / "config")
    write(tmp_path / ".kube" / "config")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(connection_module, "_NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr(
        "kubernetes.aio.config.load_incluster_config",
        lambda client_configuration: setattr(client_configuration, "host", "https://10.0.0.1:443"),
    )
    if "KUBECONFIG" in options:
        monkeypatch.setenv("KUBECONFIG", options.pop("KUBECONFIG"))
    connection = found(**options)
    assert (connection.credentials.server == "https://10.0.0.1:443") is is_inside
    assert (connection.namespace == "pod-namespace") is is_inside
    assert connection.configuration.retries is None


def test_outside_a_pod_there_is_no_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the variable nor the file alone means that the process runs in a Pod."""
    write(tmp_path / ".kube" / "config")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(connection_module, "_NAMESPACE_FILE", tmp_path / "none")
    assert found().namespace == "default"
    (tmp_path / "there").write_text("pod")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.setattr(connection_module, "_NAMESPACE_FILE", tmp_path / "there")
    assert found().namespace == "default"
