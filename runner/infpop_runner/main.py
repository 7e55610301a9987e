"""The runner's command: read a `RunSpec`, carry it out, leave a `RunResult`.

The edge of the process: command line, environment, clocks and signals are read here and nowhere else. It exits with 0
whenever it has left a result, also one that says what broke, with 1 when it could not leave one, and with 2 when it
did not understand what to do.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from infpop_runner.contract import Broken, RunSpec
from infpop_runner.engines.environment import build_environment
from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.metrics import RunMetrics, ScrapeWatch, serve
from infpop_runner.process import (
    Guard,
    OutputTail,
    ResultFile,
    adopt_orphans,
    count_usable_cpus,
    end_children,
    read_cpu_limit,
    read_throttled_seconds,
)
from infpop_runner.trial import Environment, Journal, JournalError, execute_run

SPEC_VARIABLE = "INFPOP_RUN_SPEC"
TERMINATION_LOG = Path("/dev/termination-log")
EXIT_NO_RESULT = 1
EXIT_MISUNDERSTOOD = 2
GRACE_SECONDS = 1.0  # what children get to end by themselves


class UsageError(Exception):
    """The command line, the environment or the spec cannot be used; the message names what and why."""


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
        # Nothing is left to do and every child is gone. Tearing down an interpreter full of engine libraries takes
        # seconds and can start processes again.
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
    parser.add_argument("--spec", type=Path, help=f"file with the run spec; default: the variable {SPEC_VARIABLE}")
    parser.add_argument(
        "--result", type=Path, help=f"file for the result; default: {TERMINATION_LOG}, or standard output without it"
    )
    parser.add_argument("--metrics-port", type=int, default=0, help="port of /metrics; default: any free one")
    parser.add_argument("--metrics-address", default="127.0.0.1", help="of /metrics; :: is every one, of IPv4 too")
    parser.add_argument("--port-file", type=Path, help="file to write the port of /metrics to")
    parser.add_argument("--lifeline-fd", type=int, help="end when the other end of this pipe is closed")
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
        raise UsageError(f"--result {path}: there is no directory {path.parent}")


def _result_writer(path: Path | None, output: OutputTail) -> Callable[[str], None]:
    """Return what writes the result: to the file, the termination log, or a line of standard output for each step."""
    if path is None and TERMINATION_LOG.exists():
        path = TERMINATION_LOG
    if path is not None:
        return ResultFile(path).write
    return lambda text: _write_line(output.stdout, text)


def _write_line(descriptor: int, text: str) -> None:
    os.write(descriptor, f"{text}\n".encode())


def _publish_port(port: int, options: argparse.Namespace) -> None:
    if options.port_file is not None:
        ResultFile(options.port_file).write(f"{port}\n")


def _ender(journal: Journal, scrapes: ScrapeWatch) -> Callable[[str, str], None]:
    """Return what ends the process when its time is over, whatever the main thread is doing.

    The process ends and its children with it even if the result cannot be written any more. A run that is only held
    is let go instead: its result is complete, and the main thread has nothing left to do but to end.
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
    """Return the run's GPUs and note what the driver says of them; none on a CPU."""
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
        except EngineBrokenError:  # a number less; no reason to lose a trial
            return None

    return read


if __name__ == "__main__":
    raise SystemExit(main())
