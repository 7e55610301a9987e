"""Write kubeconfigs as JSON, which is valid YAML."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_kubeconfig(
    path: Path, *, server: str, ca: Path, credentials: Mapping[str, str], namespace: str = "default"
) -> None:
    """Write the kubeconfig of one user of one cluster, readable only by its owner.

    Args:
        path: the path of the file.
        server: the address of the API server.
        ca: the certificate with which clients check the server.
        credentials: keys of a kubeconfig's user: `token`, or `client-certificate` and `client-key`.
        namespace: the default namespace.
    """
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "test", "user": dict(credentials)}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))
