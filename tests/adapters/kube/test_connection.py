"""Kubeconfigs as kubectl reads them; one that is of no use is told from a cluster that does not answer."""

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
    """Find no kubeconfig but the test's own."""
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
    """Return what is said of a connection that cannot be made."""

    async def connect() -> None:
        async with KubeClient(await find_connection(**options)):
            pass

    with pytest.raises(ConnectionConfigError) as caught:
        asyncio.run(connect())
    return str(caught.value)


def test_the_usual_places_are_looked_at_in_kubectls_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home directory's file, before it KUBECONFIG, before both the file that is named."""
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
    """Without one of its own a context means `default`."""
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
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str, part: str) -> None:
    """Whatever stands in it, the message says which file and what is wrong."""
    path = tmp_path / "config"
    path.write_text(text)
    message = refused(kubeconfig=str(path))
    assert str(path) in message
    assert part in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The file that was looked for, and how to name another."""
    assert f"{tmp_path}/.kube/config: no such file. Name one with --kubeconfig or KUBECONFIG" in refused()
    assert "Is a directory" in refused(kubeconfig=str(tmp_path))


def test_an_unknown_context_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    """Whoever mistyped a context reads what it may be."""
    message = refused(kubeconfig=str(write(tmp_path / "config")), context="tow")
    assert "tow" in message
    assert "Known contexts: one, two" in message


@pytest.mark.parametrize("key", [{"certificate-authority": "/none/ca.crt"}, {"certificate-authority-data": "eHh4"}])
def test_certificates_that_cannot_be_read_are_a_matter_of_the_kubeconfig(tmp_path: Path, key: dict[str, str]) -> None:
    """A file that is away and data that is no certificate are not taken for a cluster that is down."""
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:6443", **key}}
    assert refused(kubeconfig=str(write(tmp_path / "config", clusters=[cluster])))


@pytest.mark.parametrize(("header", "token"), [("Bearer a b", "a b"), ("plain", "plain"), (None, None)])
def test_credentials_are_those_of_the_connection(header: str | None, token: str | None) -> None:
    """Another client library gets each of them in its own place; no token is shown where a connection is."""
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
    """Its namespace is the pod's own; nothing is asked again by the client library."""
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
    """Neither a variable nor a file alone makes a pod."""
    write(tmp_path / ".kube" / "config")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(connection_module, "_NAMESPACE_FILE", tmp_path / "none")
    assert found().namespace == "default"
    (tmp_path / "there").write_text("pod")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.setattr(connection_module, "_NAMESPACE_FILE", tmp_path / "there")
    assert found().namespace == "default"
