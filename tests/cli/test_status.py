"""`infpop status`: what it prints, where, with which exit code, and its messages if there is nothing to show."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.api_server import STUDIES, Answers, api_server, kubeconfig
from infpop_operator.adapters.kube.study_reader import ReadError
from infpop_operator.cli.main import app
from infpop_operator.cli.status import follow
from infpop_operator.core.errors import NoAnswerError
from infpop_operator.report.status_page import StatusPage
from local.local_studies import own_environment, read_terminal
from report.study_objects import NOW, Body, ended, make_document, refused

DONE = ended()
FORBIDDEN = {"reason": "Forbidden", "message": 'User "me" cannot get resource "throughputstudies"'}


def invoke(*arguments: str) -> Result:
    """Run the command line in this process, on a terminal of 80 columns."""
    return CliRunner().invoke(app, ["status", *arguments], env={"COLUMNS": "80"})


def shown(answers: Answers, directory: Path, *arguments: str) -> Result:
    """Run the command against a server with these answers."""
    with api_server(answers, directory) as config:
        return invoke(*arguments, "--kubeconfig", config)


def refusal(answers: Answers, directory: Path, *arguments: str) -> str:
    """Return the message for a study that cannot be shown."""
    result = shown(answers, directory, *(arguments or ("codellama",)))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_finished_study_is_shown_with_its_result(tmp_path: Path) -> None:
    """The command makes one request, prints one page and exits with 0; the namespace is the context's."""
    result = shown({f"{STUDIES}/codellama": (200, DONE)}, tmp_path, "codellama")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Configuration  8 GPUs, batch size 256" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(("arguments", "is_turned"), [((), True), (("--wide",), False)])
def test_a_wide_page_has_all_gpu_counts_across(tmp_path: Path, arguments: tuple[str, ...], *, is_turned: bool) -> None:
    """On a narrow terminal the table is turned, unless the user asks for the whole width."""
    with api_server({f"{STUDIES}/codellama": (200, DONE)}, tmp_path) as config:
        argv = ["status", "codellama", "--kubeconfig", config, *arguments]
        shown = CliRunner().invoke(app, argv, env={"COLUMNS": "32"}).stdout
        file = tmp_path / "study.json"
        file.write_text(json.dumps(DONE))
        again = CliRunner().invoke(app, ["show", str(file), *arguments], env={"COLUMNS": "32"}).stdout
    for text in (shown, again):
        assert ("--wide" in text) == is_turned
        assert any(line.split() == ["batch", "1", "2", "4", "8"] for line in text.splitlines()) != is_turned


def test_json_is_the_status_as_the_cluster_has_it(tmp_path: Path) -> None:
    """A script also gets the fields of other versions."""
    status = {**DONE["status"], "ofANewerVersion": 1}
    result = shown({f"{STUDIES}/codellama": (200, {**DONE, "status": status})}, tmp_path, "codellama", "--json")
    assert json.loads(result.stdout) == status
    empty = shown({f"{STUDIES}/new": (200, make_document())}, tmp_path, "new", "--json")
    assert json.loads(empty.stdout) == {}


@pytest.mark.parametrize(("body", "code"), [(DONE, 0), (make_document(), 0), (refused(make_document()), 3)])
def test_the_exit_code_says_whether_user_action_is_needed(tmp_path: Path, body: Body, code: int) -> None:
    """0 for a study that continues or has its result, like `kubectl rollout status`; 3 if it needs user action."""
    assert shown({f"{STUDIES}/codellama": (200, body)}, tmp_path, "codellama").exit_code == code


def test_a_watch_of_a_finished_study_ends_immediately(tmp_path: Path) -> None:
    """A pipe gets lines, then the page; with --json the lines go to standard error and only the status is printed."""
    answers = {f"{STUDIES}/codellama": (200, DONE)}
    result = shown(answers, tmp_path, "codellama", "--watch")
    assert result.exit_code == 0
    assert "   0:00  16 of up to 16 trials are done" in result.stdout
    assert "Configuration  8 GPUs, batch size 256" in result.stdout
    result = shown(answers, tmp_path, "codellama", "--watch", "--json")
    assert json.loads(result.stdout) == DONE["status"]
    assert "16 of up to 16 trials are done" in result.stderr


@pytest.mark.process
def test_a_terminal_gets_a_live_view_and_then_the_page(tmp_path: Path) -> None:
    """On a terminal the live view is redrawn in place; the page stays, without lines for changes."""
    with api_server({f"{STUDIES}/codellama": (200, DONE)}, tmp_path) as config:
        ours, theirs = pty.openpty()
        argv = [sys.executable, "-m", "infpop_operator.cli.main", "status", "codellama", "--watch"]
        environment = {**own_environment(), "KUBECONFIG": config, "TERM": "xterm-256color", "COLUMNS": "80"}
        process = subprocess.Popen(argv, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        text = read_terminal(ours)
        assert process.wait(60) == 0
    drawn, _, left = text.rpartition("\x1b[2K")  # how a live view is erased
    assert "serving/codellama: vllm, example/model" in drawn
    assert "Best configuration found" not in drawn
    assert "Best configuration found" in left
    assert "are done" not in text


def test_a_study_that_is_not_there_is_answered_with_close_ones(tmp_path: Path) -> None:
    """The user can tell a typing mistake from a wrong namespace."""
    missing = {"reason": "NotFound", "message": "not found"}
    names = ("codelama", "llama-70b", "mistral")
    items = [{"metadata": {"name": name, "namespace": "serving"}} for name in names]
    answers = {f"{STUDIES}/codellama": (404, missing), STUDIES: (200, {"metadata": {}, "items": items})}
    assert "namespace serving has no study codellama. Did you mean codelama" in refusal(answers, tmp_path)
    answers = {f"{STUDIES}/xyz": (404, missing), STUDIES: (200, {"metadata": {}, "items": items})}
    assert "It has codelama, llama-70b, mistral; name another" in refusal(answers, tmp_path, "xyz")
    answers = {f"{STUDIES}/xyz": (404, missing), STUDIES: (200, {"metadata": {}, "items": []})}
    assert "It has no studies; name another with --namespace" in refusal(answers, tmp_path, "xyz")
    answers = {f"{STUDIES}/xyz": (404, missing), STUDIES: (403, FORBIDDEN)}
    assert "has no study xyz. Name another namespace with --namespace" in refusal(answers, tmp_path, "xyz")


def test_a_missing_crd_is_reported_with_how_to_install_it(tmp_path: Path) -> None:
    """A missing CRD is not reported as a missing study."""
    message = refusal({}, tmp_path)
    assert "does not know the kind throughputstudies.infpop.io" in message
    assert "infpop crds | kubectl apply --server-side -f -" in message


@pytest.mark.parametrize("code", [401, 403])
def test_a_user_without_rights_learns_whom_to_ask(tmp_path: Path, code: int) -> None:
    """The message has the server's own words and the command that shows the permission."""
    message = refusal({f"{STUDIES}/codellama": (code, FORBIDDEN)}, tmp_path)
    assert 'User "me" cannot get resource' in message
    assert "kubectl auth can-i get throughputstudies.infpop.io --namespace serving" in message


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_in_trouble_is_not_bad_input(tmp_path: Path, code: int) -> None:
    """Exit code 1 after one request, without retries: the same command may work in a minute."""
    result = shown({f"{STUDIES}/codellama": (code, {"message": "etcd"})}, tmp_path, "codellama")
    assert result.exit_code == 1
    assert (tmp_path / "requests").read_text() == f"{STUDIES}/codellama\n"
    assert "Check that the cluster is up" in result.stderr


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message names the address that was tried."""
    result = invoke("codellama", "--kubeconfig", kubeconfig(tmp_path, "http://127.0.0.1:1"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["", "../secrets/x", "Name", "a b", "a/b", "$(reboot)"])
def test_an_invalid_name_is_not_requested(tmp_path: Path, name: str) -> None:
    """Neither hostile names nor hostile namespaces reach a path of the API."""
    assert f"{name!r} is not a valid study name" in refusal({}, tmp_path, name)
    assert f"{name!r} is not a valid namespace name" in refusal({}, tmp_path, "codellama", "--namespace", name)


def test_a_status_that_cannot_be_read_names_the_place(tmp_path: Path) -> None:
    """A status of another form gives a message, not a traceback."""
    answers = {f"{STUDIES}/codellama": (200, {**DONE, "status": {"trials": "none"}})}
    assert "status.trials" in refusal(answers, tmp_path)


@pytest.mark.parametrize("library", ["kubernetes", "aiohttp"])
def test_without_the_cluster_library_the_extra_is_named(tmp_path: Path, library: str) -> None:
    """A user who installed InfPop without the cluster extra reads what to install."""
    program = f"import sys; sys.modules[{library!r}] = None; from infpop_operator.cli.main import main; main()"
    argv = [sys.executable, "-c", program, "status", "codellama"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install '.[operator]' in a checkout of InfPop" in done.stderr
    assert "Traceback" not in done.stderr


class Eyes:
    """A view that records what it was shown and what was reported."""

    def __init__(self) -> None:
        self.pages: list[StatusPage] = []
        self.told: list[str] = []
        self.announce = self.told.append

    def show(self, page: StatusPage, _: object) -> None:
        """Record the page."""
        self.pages.append(page)

    def close(self) -> None:
        """Do nothing."""


def watched(*answers: Body | Exception) -> tuple[Eyes, Body, int]:
    """Watch a study with these answers, and return what was shown, the last version, and the number of waits."""
    left, waits, eyes = list(answers), [0], Eyes()

    async def read() -> Body:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait() -> None:
        waits.append(1)

    body, _ = asyncio.run(follow(read, eyes, clock=lambda: NOW, wait=wait))
    assert not left
    return eyes, dict(body), sum(waits)


def test_a_watch_continues_until_the_study_ends() -> None:
    """Every version is shown, with a pause before each next one, and the last is returned."""
    eyes, body, waits = watched(make_document(), make_document(), DONE)
    assert (len(eyes.pages), waits) == (3, 2)
    assert body == DONE


def test_a_watch_survives_an_outage() -> None:
    """An outage is reported once; the last known page stays visible and shows its age."""
    silence = NoAnswerError("GET: no answer")
    eyes, body, _ = watched(make_document(), silence, silence, make_document(), silence, DONE)
    assert len(eyes.told) == 2
    assert len(eyes.pages) == 6
    assert body == DONE


@pytest.mark.parametrize("answers", [(NoAnswerError("no answer"),), (make_document(), ReadError("gone"))])
def test_a_watch_ends_where_there_is_nothing_to_wait_for(answers: tuple[Body | Exception, ...]) -> None:
    """A cluster that never answered and a deleted study are reported immediately."""
    with pytest.raises(type(answers[-1])):
        watched(*answers)
