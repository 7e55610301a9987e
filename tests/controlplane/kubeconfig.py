"""Write kubeconfigs: JSON, which is YAML."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_kubeconfig(
    path: Path, *, server: str, ca: Path, credentials: Mapping[str, str], namespace: str = "default"
) -> None:
    """Write the kubeconfig of one user of one cluster, readable by its owner alone.

    Args:
        path: of the file.
        server: address of the API server.
        ca: certificate that the server is to be checked with.
        credentials: keys of a kubeconfig's user: `token`, or `client-certificate` and `client-key`.
        namespace: the default one.
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
