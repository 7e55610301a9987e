"""Certificates of one control plane, created with the machine's `openssl`: an authority and what it signs.

They are valid for a month in the folder of the cluster, and nothing outside it trusts them.
"""

import subprocess
from pathlib import Path

_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_DAYS = "30"


class Pki:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca = folder / "ca.crt"
        self._run("req", "-x509", *_EC_KEY, "-days", _DAYS, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt")

    def certificate(self, name: str) -> Path:
        """Return the path of the certificate `name`."""
        return self._folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return the path of the private key of `name`."""
        return self._folder / f"{name}.key"

    def issue(self, name: str, *, user: str, groups: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> None:
        """Write the key and certificate `name` for a Kubernetes user, valid for the given `DNS:` and `IP:` names."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        extensions = ["keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
        if hosts:
            extensions.append(f"subjectAltName={','.join(hosts)}")
        (self._folder / f"{name}.ext").write_text("\n".join(extensions) + "\n")
        self._run("req", *_EC_KEY, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS, "-extfile", f"{name}.ext")
        self._run("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")

    def issue_key_pair(self, name: str) -> tuple[Path, Path]:
        """Write a bare key pair and return its private and public part."""
        private, public = self.key(name), self._folder / f"{name}.pub"
        self._run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private.name)
        self._run("pkey", "-in", private.name, "-pubout", "-out", public.name)
        return private, public

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)  # noqa: S607
