"""The runner's command: read a `RunSpec`, execute it, write a `RunResult`.

The edge of the process: only this module reads the command line, the environment, clocks and signals. The exit code is
0 if the runner wrote a result, even one that says what broke; 1 if it could not write one; and 2 if the command line,
the environment or the spec is invalid.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from infpop_runner.contract import Broken, RunSpec
from infpop_runner.engines.environment import build_environment
from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.metrics import RunMetrics, ScrapeWatch, serve
from infpop_runner.process import (
    Guard,
    OutputTail,
    adopt_orphans,
    count_usable_cpus,
    end_children,
    read_cpu_limit,
    read_throttled_seconds,
    write_result,
)
from infpop_runner.trial import Environment, Journal, JournalError, execute_run

SPEC_VARIABLE = "INFPOP_RUN_SPEC"
TERMINATION_LOG = Path("/dev/termination-log")
EXIT_NO_RESULT = 1
EXIT_MISUNDERSTOOD = 2
GRACE_SECONDS = 1.0  # time for children to end by themselves


class UsageError(Exception):
    """The command line, the environment or the spec is invalid; the message says what and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse_options(arguments)
    environment = os.environ  # noqa: TID251 - this is the edge
    try:
        spec = _read_spec(options.spec, environment)
        _check_result_path(options.result)
    except UsageError as error:
        sys.stderr.write(f"infpop-runner: {error}\n")
        return EXIT_MISUNDERSTOOD
    status = 0
    with OutputTail() as output:
        try:
            _run(spec, options, output, environment)
        except (JournalError, OSError) as error:
            sys.stderr.write(f"infpop-runner: {error}\n")
            status = EXIT_NO_RESULT
        finally:
            end_children(grace_seconds=GRACE_SECONDS)
    if spec.engine.name != "simulated":
        # Nothing is left to do and every child has ended. Shutting down an interpreter full of engine libraries takes
        # seconds and can start new processes.
        os._exit(status)
    return status


def _run(spec: RunSpec, options: argparse.Namespace, output: OutputTail, environment: "os._Environ[str]") -> None:
    adopt_orphans()
    metrics = RunMetrics(spec)
    scrapes = ScrapeWatch()
    _publish_port(serve(metrics.registry, scrapes, address=options.metrics_address, port=options.metrics_port), options)
    start = time.perf_counter()
    journal = Journal(spec, write=_result_writer(options.result, output), now=lambda: datetime.now(UTC))  # noqa: TID251 - the edge
    metrics.started(journal.result.started_at)
    journal.note_provenance(node=environment.get("INFPOP_NODE_NAME"))
    guard = Guard(clock=time.monotonic, lifeline=options.lifeline_fd, on_end=_ender(journal, scrapes))
    guard.start()
    try:
        devices = _take_devices(spec, journal, environment)
    except EngineBrokenError as error:
        journal.close(Broken(reason=error.reason, detail=str(error)))
        return
    environment.update(build_environment(spec, current=environment, devices=devices, cores=count_usable_cpus()))
    execute_run(
        spec,
        Environment(
            clock=lambda: time.perf_counter() - start,
            wait=time.sleep,
            devices=devices,
            memory_used_bytes=_memory_reader(devices),
            throttled_seconds=read_throttled_seconds,
            cpu_limit=read_cpu_limit(),
            output=output,
            guard=guard,
            metrics=metrics,
            scrapes=scrapes,
            journal=journal,
        ),
    )


def _parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="infpop-runner", description="Measure the trials of one run of a study.")
    parser.add_argument(
        "--spec", type=Path, help=f"file with the run spec; default: environment variable {SPEC_VARIABLE}"
    )
    parser.add_argument(
        "--result",
        type=Path,
        help=f"file for the result; default: {TERMINATION_LOG} if it exists, else standard output",
    )
    parser.add_argument("--metrics-port", type=int, default=0, help="port of /metrics; default: any free port")
    parser.add_argument(
        "--metrics-address", default="127.0.0.1", help="address of /metrics; :: means all, IPv4 included"
    )
    parser.add_argument("--port-file", type=Path, help="file that receives the port of /metrics")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('infpop')}")
    parser.add_argument("--lifeline-fd", type=int, help="exit when the other end of this pipe is closed")
    return parser.parse_args(arguments)


def _read_spec(path: Path | None, environment: Mapping[str, str]) -> RunSpec:
    where = SPEC_VARIABLE if path is None else str(path)
    try:
        text = environment[SPEC_VARIABLE] if path is None else path.read_text(encoding="utf-8")
        return RunSpec.model_validate_json(text)
    except KeyError:
        raise UsageError(f"give --spec FILE or set {SPEC_VARIABLE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"run spec {where}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "document"
        raise UsageError(f"run spec {where}: {field}: {first['msg']}, got {str(first['input'])[:200]!r}") from error


def _check_result_path(path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"--result {path}: directory {path.parent} does not exist")


def _result_writer(path: Path | None, output: OutputTail) -> Callable[[str], None]:
    """Return a function that writes the result: to the file, the termination log, or as a line on standard output."""
    if path is None and TERMINATION_LOG.exists():
        path = TERMINATION_LOG
    if path is not None:
        return partial(write_result, path)
    return lambda text: _write_line(output.stdout, text)


def _write_line(descriptor: int, text: str) -> None:
    os.write(descriptor, f"{text}\n".encode())


def _publish_port(port: int, options: argparse.Namespace) -> None:
    if options.port_file is not None:
        write_result(options.port_file, f"{port}\n")


def _ender(journal: Journal, scrapes: ScrapeWatch) -> Callable[[str, str], None]:
    """Return a function that ends the process when the guard calls it, whatever the main thread is doing.

    The process and its children end even if the result can no longer be written. A run that is only held for a scrape
    is released instead: its result is complete, and the main thread then ends by itself.
    """

    def end(reason: str, detail: str) -> None:
        if scrapes.release():
            return
        status = EXIT_NO_RESULT
        try:
            journal.close(Broken.model_validate({"reason": reason, "detail": detail}))
            status = 0
        except JournalError as error:
            sys.stderr.write(f"infpop-runner: {error}\n")
            sys.stderr.flush()
        finally:
            try:
                end_children(grace_seconds=GRACE_SECONDS)
            finally:
                os._exit(status)

    return end


def _take_devices(spec: RunSpec, journal: Journal, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the run's GPUs, and record the driver's facts about them; empty on a CPU."""
    if spec.device == "cpu":
        return ()
    nvml = importlib.import_module("infpop_runner.engines.devices")
    present = nvml.count_devices()
    devices: tuple[str, ...] = nvml.limit_devices(
        environment.get("CUDA_VISIBLE_DEVICES"), gpu_count=spec.gpu_count, present=present
    )
    if devices:
        facts = nvml.read_devices(devices)
        journal.note_provenance(
            gpu_model=facts.gpu_model, gpu_uuids=facts.gpu_uuids, driver_version=facts.driver_version
        )
    return devices


def _memory_reader(devices: tuple[str, ...]) -> Callable[[], int | None]:
    if not devices:
        return lambda: None
    nvml = importlib.import_module("infpop_runner.engines.devices")

    def read() -> int | None:
        try:
            return int(nvml.memory_used_bytes(devices))
        except EngineBrokenError:  # a missing number is no reason to lose a trial
            return None

    return read


if __name__ == "__main__":
    raise SystemExit(main())
