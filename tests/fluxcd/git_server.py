"""A Git repository that is served over HTTP by git's own `git http-backend`."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesParser
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gobuild import MissingToolError

_NAME = "serving.git"
# Of the CGI variables those that `git http-backend` reads, by the header of the request.
_HEADERS = {
    "Content-Type": "CONTENT_TYPE",
    "Content-Length": "CONTENT_LENGTH",
    "Content-Encoding": "HTTP_CONTENT_ENCODING",
    "Git-Protocol": "GIT_PROTOCOL",
}


class Repository:
    """A repository with one branch, `main`, whose files are those of a folder.

    Args:
        directory: an absolute path, empty or missing.
        files: the folder whose content is the first commit.
    """

    def __init__(self, directory: Path, files: Path) -> None:
        self.files = directory / "files"
        self.served = directory / "served"
        shutil.copytree(files, self.files)
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit("the first one")

    def commit(self, message: str) -> str:
        """Commit what is in `files`, and return the commit's hash."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        self.served.mkdir(parents=True, exist_ok=True)
        places = (f"--git-dir={self.served / _NAME}", f"--work-tree={self.files}")
        identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(
            [_git_program(), *places, *identity, *arguments],
            env=_environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()


class _Handler(BaseHTTPRequestHandler):
    """Hands each request over to `git http-backend`, as a web server does by CGI."""

    def __init__(self, *arguments: object, root: Path, **more: object) -> None:
        self._root = root
        super().__init__(*arguments, **more)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer the list of references."""
        self._answer()

    def do_POST(self) -> None:
        """Answer with the objects that the client lacks."""
        self._answer()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing on standard error."""

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        variables = {name: self.headers[header] for header, name in _HEADERS.items() if header in self.headers}
        variables |= {"REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query}
        variables |= {"GIT_PROJECT_ROOT": str(self._root), "GIT_HTTP_EXPORT_ALL": "1"}
        answer = subprocess.run(
            [_git_program(), "http-backend"],
            input=self.rfile.read(int(self.headers.get("Content-Length", "0"))),
            env=_environment(variables),
            capture_output=True,
            check=False,
        ).stdout
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = BytesParser().parsebytes(head)
        self.send_response(int(headers.get("Status", str(HTTPStatus.OK.value)).split()[0]))
        for name, value in headers.items():
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(repository: Repository) -> Iterator[str]:
    """Serve the repository while the block lasts, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, root=repository.served)) as server:
        thread = threading.Thread(target=server.serve_forever, name="git-server", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{_NAME}"
        finally:
            server.shutdown()
            thread.join()


def _git_program() -> str:
    found = shutil.which("git")
    if found is None:
        raise MissingToolError("git is missing on this machine; install it with the machine's package manager")
    return found


def _environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of git: that of this process without the settings of its user."""
    inherited = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}  # noqa: TID251 - the edge of the tests
    return {**inherited, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", **(variables or {})}
