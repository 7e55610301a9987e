"""The administrator's requests over one persistent connection: each kubectl call costs a tenth of a core second."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

Document = dict[str, Any]
TIMEOUT_SECONDS = 30.0
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def open_client(kubeconfig: Path) -> httpx.Client:
    """Return a client with the certificate of a kubeconfig that `write_kubeconfig` wrote."""
    document = json.loads(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    return httpx.Client(base_url=cluster["server"], verify=context, trust_env=False, timeout=TIMEOUT_SECONDS)


class Admin:
    """Frequent requests of tests to the API server; paths are those of its API."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client = open_client(kubeconfig)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def get(self, path: str, **query: str) -> Document:
        """Return an object, or a list of objects.

        Raises:
            AssertionError: the API server refused the request; the message has its answer, as with every request here.
        """
        return _read(self._client.get(path, params=query))

    def create(self, path: str, body: Mapping[str, Any], **query: str) -> Document:
        """Create an object and return it as the API server stored it; unknown fields are refused."""
        return _read(self._client.post(path, json=body, params={"fieldValidation": "Strict", **query}))

    def patch(self, path: str, changes: Mapping[str, Any]) -> Document:
        """Apply a merge patch to an object and return it; a dictionary's None removes a key."""
        return _read(self._client.patch(path, content=json.dumps(changes), headers=_MERGE_PATCH))

    def delete(self, path: str, **options: object) -> None:
        """Request the deletion of an object, or of all objects of a list; missing ones are ignored."""
        answer = self._client.request("DELETE", path, json={"propagationPolicy": "Background", **options})
        if answer.status_code != httpx.codes.NOT_FOUND:
            _read(answer)


def _read(answer: httpx.Response) -> Document:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    body: Document = answer.json()
    return body
