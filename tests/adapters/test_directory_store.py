"""A study's directory survives crashes, and InfPop refuses directories that it must not change."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factories.runs import ROUND, make_finished, make_started
from factories.studies import START
from infpop_operator.adapters.directory_store import DirectoryStore
from infpop_operator.adapters.files import write_atomically
from infpop_operator.core.errors import GoneError, StoreError


def opened(directory: Path, study: str = "study", namespace: str = "") -> DirectoryStore:
    """Return the store of `study` in `directory`, to be used in a `with` block."""
    return DirectoryStore(directory, namespace=namespace, study=study)


def written(directory: Path) -> Path:
    """Write a study with a round, and a run that ended, and return its journal."""
    with opened(directory) as store:
        store.load(START)
        for entry in (ROUND, make_started(), make_finished(make_started())):
            store.record(entry)
    return directory / "journal.jsonl"


def refusal(directory: Path, study: str = "study") -> str:
    """Return why the store cannot be opened and loaded."""
    with pytest.raises(StoreError) as caught, opened(directory, study) as store:
        store.load(START)
    return str(caught.value)


@pytest.mark.parametrize("kept", [1, 20, -2, -1])
def test_a_torn_last_line_is_dropped_and_the_next_one_starts_afresh(tmp_path: Path, kept: int) -> None:
    """After a power failure in the middle of a write, the step was not acted upon, so it is dropped."""
    journal = written(tmp_path)
    *whole, last = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole) + last[:kept])
    with opened(tmp_path) as store:
        assert store.load(START).active == (make_started(),)
        store.record(make_finished(make_started()))
    with opened(tmp_path) as store:
        assert store.load(START).ended == (make_finished(make_started()),)


def test_a_torn_first_line_is_a_study_that_never_began(tmp_path: Path) -> None:
    """A crash in the very first write leaves a directory that can be used again."""
    (tmp_path / "journal.jsonl").write_bytes(b'{"kind":"journ')
    with opened(tmp_path) as store:
        assert store.load(START).rounds == ()
    with opened(tmp_path) as store:
        assert store.load(START).started_at == START


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b"{}\n", b'{"kind": "ended"}\n', b"not json\n"])
def test_a_damaged_line_is_named_with_a_remedy(tmp_path: Path, damage: bytes) -> None:
    """A line that cannot be a torn write is not guessed at."""
    journal = written(tmp_path)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], damage, *lines[1:]]))
    message = refusal(tmp_path)
    assert f"{journal}, line 2: damaged" in message
    assert "--output" in message


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """An older InfPop does not guess what a newer one meant."""
    journal = written(tmp_path)
    first, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first.replace(b'"version":1', b'"version":2') + b"".join(rest))
    before = journal.read_bytes()
    assert "newer InfPop" in refusal(tmp_path)
    assert journal.read_bytes() == before


def test_fields_of_a_newer_writer_are_ignored(tmp_path: Path) -> None:
    """A field that was added later does not make a journal unreadable."""
    journal = written(tmp_path)
    header, first, *rest = journal.read_text().splitlines()
    grown = json.loads(first)
    grown["round"]["added_later"] = 1
    journal.write_text("\n".join([header, json.dumps(grown), *rest]) + "\n")
    with opened(tmp_path) as store:
        assert store.load(START).rounds == (ROUND,)


def test_the_directory_of_another_study_is_refused_with_both_names(tmp_path: Path) -> None:
    """Results of two studies are never mixed."""
    written(tmp_path)
    message = refusal(tmp_path, "other")
    assert all(part in message for part in ("belongs to the study study", "not to other", "--output"))


def test_a_directory_with_something_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A user's files are never mixed with a study's."""
    (tmp_path / "thesis.tex").write_text("draft")
    assert "thesis.tex" in refusal(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def _a_file(path: Path) -> Path:
    path.write_text("")
    return path


@pytest.mark.parametrize("place", [_a_file, lambda path: _a_file(path) / "below"])
def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    """A file where the directory should be is an error with a remedy, not a traceback."""
    assert "--output" in refusal(place(tmp_path / "file"))


@pytest.mark.parametrize("function", ["fcntl.flock", "os.truncate", "os.write", "pathlib.Path.iterdir"])
def test_a_full_or_broken_disk_is_reported_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """Any system error while opening the directory is a readable message, not a traceback."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(function, refuse)
    message = refusal(tmp_path)
    assert "No space left on device" in message
    assert "--output" in message


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Return a function that limits the size of files, as a full disk does, until the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_is_said_and_costs_one_step(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    """The user frees space and runs the same command again; what was recorded before is kept."""
    journal = written(tmp_path)
    with opened(tmp_path) as store:
        kept = store.load(START)
        small_files(journal.stat().st_size + 10)
        with pytest.raises(StoreError, match="Free space and run the same command again"):
            store.record(make_finished(make_started()))
    with opened(tmp_path) as store:
        assert store.load(START) == kept


def test_a_link_or_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """`--output /dev/stdout` must not replace the device, nor a link to a file on another disk the link."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("link", "pipe"):
        write_atomically(tmp_path / name, name)
    assert os.read(reader, 100) == b"pipe"
    os.close(reader)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "link"
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_keeps_what_a_link_names(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    """An export onto a link loses the file from before no more than one onto the file itself."""
    (tmp_path / "file").write_text("before")
    (tmp_path / "link").symlink_to("file")
    small_files(10)
    with pytest.raises(OSError, match="too large"):
        write_atomically(tmp_path / "link", "x" * 100)
    assert (tmp_path / "file").read_text() == "before"


def test_a_journal_that_was_removed_is_not_begun_again(tmp_path: Path) -> None:
    """A journal without its first lines would be damaged; the status of a removed directory is not written either."""
    with opened(tmp_path / "out") as store:
        store.load(START)
        (tmp_path / "out" / "journal.jsonl").unlink()
        with pytest.raises(GoneError, match=r"journal\.jsonl: was removed, and what was recorded there with it"):
            store.record(ROUND)
        assert not (tmp_path / "out" / "journal.jsonl").exists()
        (tmp_path / "out").rename(tmp_path / "elsewhere")
        with pytest.raises(GoneError):
            store.save_status({})


def test_nothing_is_written_into_a_directory_that_another_process_began_again(tmp_path: Path) -> None:
    """Who removes the directory of a study that is still tuned, and starts afresh, has one journal of one process."""
    with opened(tmp_path / "out") as store:
        store.load(START)
        shutil.rmtree(tmp_path / "out")
        journal = written(tmp_path / "out")
        others = journal.read_bytes()
        for write in (lambda: store.record(ROUND), lambda: store.save_status({})):
            with pytest.raises(GoneError, match=r"another `infpop tune` has begun there\. Name another directory"):
                write()
    assert journal.read_bytes() == others
    assert not (tmp_path / "out" / "status.json").exists()


def test_a_second_process_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    """Two `infpop tune` on one directory would disturb each other's measurements."""
    with opened(tmp_path):
        assert f"in use by process {os.getpid()}" in refusal(tmp_path)
    with opened(tmp_path) as store:
        assert store.load(START).rounds == ()


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    """The lock is the kernel's: the user never has to remove a stale lock file."""
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from infpop_operator.adapters.directory_store import DirectoryStore;"
        "DirectoryStore(Path(sys.argv[1]), namespace='', study='study').__enter__();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    with opened(tmp_path) as store:
        assert store.load(START).rounds == ()


def test_status_and_study_are_replaced_whole(tmp_path: Path) -> None:
    """A reader of `status.json` sees the old content or the new one, and no temporary file remains."""
    with opened(tmp_path) as store:
        store.load(START)
        for number in (1, 2):
            store.save_status({"number": number})
            store.save_study(f"number: {number}\n")
    assert json.loads((tmp_path / "status.json").read_text()) == {"number": 2}
    assert (tmp_path / "study.yaml").read_text() == "number: 2\n"
    assert {entry.name for entry in tmp_path.iterdir()} == {"journal.jsonl", "lock", "status.json", "study.yaml"}
