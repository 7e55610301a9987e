"""Kubeconfigs as kubectl reads them; one that is of no use is told from a cluster that does not answer."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.connection import Connection, ConnectionConfigError, find_connection

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
        ("a: [1", "is no kubeconfig"),
        ("", "is no kubeconfig"),
        ("[1, 2]", "is no kubeconfig"),
        ("\0\1", "is no kubeconfig"),
        ('{"apiVersion": "v1", "kind": "Config"}', "Expected key current-context"),
        (json.dumps(CONFIG | {"users": []}), "is no kubeconfig"),
        (json.dumps(CONFIG | {"clusters": [{"name": "c", "cluster": {}}]}), "names no server"),
        (json.dumps(CONFIG | {"clusters": [{"name": "c", "cluster": {"server": "not a url"}}]}), "names no server"),
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
    assert f"{tmp_path}/.kube/config: there is no such file. Name one with --kubeconfig or KUBECONFIG" in refused()
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
