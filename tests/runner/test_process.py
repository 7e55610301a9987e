"""The runner's process handling, each part in its own process."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from infpop_runner.process import Guard, write_result

pytestmark = pytest.mark.process


def run_python(code: str, **streams: int) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, **streams
    )


def test_rubbish_on_stdout_cannot_be_taken_for_a_result() -> None:
    """Output of the process and its children goes to stderr and is remembered; stdout is only for the result."""
    done = run_python(
        "import os, subprocess\n"
        "from infpop_runner.process import OutputTail\n"
        "with OutputTail() as tail:\n"
        "    print('before', flush=True)\n"
        "    mark = tail.mark()\n"
        "    subprocess.run(['sh', '-c', 'echo {rubbish; echo cause >&2'])\n"
        "    text = tail.text_since(mark)\n"
        "    os.write(tail.stdout, b'result')\n"
        "assert text == '{rubbish\\ncause\\n', repr(text)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "result"
    assert done.stderr == "before\n{rubbish\ncause\n"


def test_only_the_end_of_a_long_log_is_kept() -> None:
    """However much is written, the last 64 KiB are remembered and everything is passed on."""
    done = run_python(
        "import os\n"
        "from infpop_runner.process import OutputTail\n"
        "with OutputTail() as tail:\n"
        "    mark = tail.mark()\n"
        "    for number in range(50_000):\n"
        "        os.write(1, b'%07d\\n' % number)\n"
        "    text = tail.text_since(mark)\n"
        "assert len(text) == 65536 and text.endswith('0049999\\n'), len(text)\n"
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert len(done.stderr) == 400_000


def test_all_descendants_are_ended() -> None:
    """Children, grandchildren, processes that ignore SIGTERM and orphans are all gone."""
    done = run_python(
        "import subprocess, sys, psutil\n"
        "from infpop_runner.process import adopt_orphans, end_children\n"
        "adopt_orphans()\n"
        "tree = subprocess.Popen(['sh', '-c', 'sleep 1000 & sleep 1000'])\n"
        "deaf = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; echo ready; sleep 1000'], stdout=subprocess.PIPE)\n"
        "deaf.stdout.readline()\n"
        "lost = subprocess.Popen(['sh', '-c', 'sleep 1000 & echo ready; wait'], stdout=subprocess.PIPE)\n"
        "lost.stdout.readline()\n"
        "lost.kill(); lost.wait()\n"
        "assert end_children(grace_seconds=0.3) >= 4\n"
        "left = [p for p in psutil.Process().children(recursive=True) if p.status() != 'zombie']\n"
        "assert not left, left\n"
    )
    assert done.returncode == 0, done.stderr


def test_shared_memory_of_killed_children_is_cleaned_up() -> None:
    """Shared memory of an engine's processes is removed when the children have been ended."""
    done = run_python(
        "from multiprocessing.shared_memory import SharedMemory\n"
        "from pathlib import Path\n"
        "from infpop_runner.process import end_children\n"
        "memory = SharedMemory(create=True, size=1024)\n"
        "path = Path('/dev/shm') / memory.name\n"
        "assert path.exists()\n"
        "end_children(grace_seconds=0.3)\n"
        "assert not path.exists()\n"
        "memory.close()\n"
    )
    assert done.returncode == 0, done.stderr


def test_two_threads_may_end_the_children() -> None:
    """The guard and the main thread may both end the children; both succeed, and no process is left."""
    done = run_python(
        "import subprocess, psutil\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "from infpop_runner.process import end_children\n"
        "memory = SharedMemory(create=True, size=1024)\n"
        "children = [subprocess.Popen(['sleep', '1000']) for _ in range(3)]\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    counts = list(pool.map(lambda _: end_children(grace_seconds=0.3), range(4)))\n"
        "assert sum(counts) == 3, counts\n"
        "memory.close()\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("failure", ["JournalError('full')", "ValueError('a defect')"])
def test_a_run_ends_even_if_its_result_cannot_be_written(failure: str) -> None:
    """When the last write fails the guard still ends the children and the process, with status 1."""
    done = run_python(
        "import subprocess\n"
        "from infpop_runner.main import _ender\n"
        "from infpop_runner.metrics import ScrapeWatch\n"
        "from infpop_runner.trial import JournalError\n"
        "class Full:\n"
        "    def close(self, broken):\n"
        f"        raise {failure}\n"
        "print(subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL).pid, flush=True)\n"
        "_ender(Full(), ScrapeWatch())('Stopped', 'received SIGTERM')\n"
    )
    assert done.returncode == 1, done.stderr
    assert not psutil.pid_exists(int(done.stdout))


def make_guard(now: list[float]) -> Guard:
    """Return a guard that does not watch by itself, with a fixed clock."""
    return Guard(clock=lambda: now[0], lifeline=None, on_end=lambda _reason, _detail: None)


def test_a_phase_that_has_ended_is_not_late() -> None:
    """Once a phase has ended it is not reported as a timeout, however late the guard checks."""
    now = [0.0]
    guard = make_guard(now)
    with guard.phase("MeasureTimeout", 1.0):
        now[0] = 5.0
    assert guard._end_reason([]) is None


def test_a_phase_that_was_called_late_never_ends() -> None:
    """Once the guard has decided, the main thread cannot add to a result that says otherwise."""
    now = [0.0]
    guard = make_guard(now)
    begun, late, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with guard.phase("MeasureTimeout", 1.0):
            begun.set()
            late.wait()
        over.set()

    threading.Thread(target=work, daemon=True).start()
    begun.wait()
    now[0] = 1.0
    assert guard._end_reason([]) == ("MeasureTimeout", "longer than 1 s")
    late.set()
    assert not over.wait(0.2)


def test_a_result_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Each write replaces the content and leaves no other file behind."""
    path = tmp_path / "result.json"
    for text in ("first", "second"):
        write_result(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A write that fails raises, and leaves no half-written file."""
    (tmp_path / "result.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_result(tmp_path / "result.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_termination_log_is_never_without_the_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mounted file is overwritten in place; a runner killed in the middle still leaves a complete result."""
    path = Path("/dev/shm") / f"infpop-termination-log-{os.getpid()}"
    try:
        write_result(path, '{"run": "a longer one"}')
        write_result(path, '{"run": "b"}')
        assert path.read_text() == '{"run": "b"}'
        monkeypatch.setattr(os, "ftruncate", lambda *_: None)
        write_result(path, "{}")
        assert json.loads(path.read_text()) == {}
    finally:
        path.unlink(missing_ok=True)
