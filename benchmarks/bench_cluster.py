"""Benchmark the operator on a real control plane: its latency, its API requests and its resource use.

The operator is its own process under its service account; etcd, API server, scheduler and controller manager are real;
Nodes are objects and Pods are simulated (`tests/controlplane`). All requests and latencies are read from the API
server's audit log, not from the operator. Three parts on one control plane:

    single   studies one after another, runs take no time: result observed -> next Job created
    crowd    many studies in parallel, runs take `--run-seconds`; half way the operator is killed and started again
    steady   as many studies, runs take `--steady-run-seconds` with their phases, for `--steady-minutes`: the
             rate of requests at a realistic length of runs, measured and not extrapolated

    python benchmarks/bench_cluster.py [--studies 200] [--trials 30] [--steady-minutes 12]

The default sizes take three quarters of an hour on two cores, which also run the whole cluster.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from bench_cluster_figures import (  # noqa: E402
    KUBELET_AGENT,
    OPERATOR,
    Requests,
    Transition,
    depths,
    is_operator,
    requests_in,
    spread,
    transitions,
)
from bench_cluster_watch import AuditTail, Sampler, wait_until  # noqa: E402
from cluster.operator_process import OperatorProcess, install_operator  # noqa: E402
from cluster.studies import apply_documents, wait_for_condition  # noqa: E402
from controlplane.audit import AuditEntry  # noqa: E402
from controlplane.behaviours import Play, Succeeds  # noqa: E402
from controlplane.cluster import ControlPlane, start_control_plane  # noqa: E402
from controlplane.kubelet import SimulatedKubelet  # noqa: E402
from controlplane.nodes import create_nodes, gpu_node  # noqa: E402
from factories.study_documents import make_study_document  # noqa: E402
from infpop_runner.contract import RunSpec  # noqa: E402
from watched_operator import watch_queue  # noqa: E402

NAMESPACE = "serving"
RESULTS = HERE / "results"
SPACE = {"gpuCount": [1, 2, 4, 8], "batchSize": [1, 2, 4, 8, 16, 32, 64, 128, 256]}
AT_ONCE = 20
SETTLING = timedelta(seconds=90)


def throughput(gpus: int, batch: int) -> float:
    """Return the tokens/s of a landscape in which every cell fits, so that each study has all its trials."""
    return 100.0 * gpus**0.7 * batch**0.4


def fraction(spec: RunSpec) -> float:
    """Return a number for a run, evenly spread in [0, 1), so that studies do not run in lockstep."""
    return int(spec.run.rsplit("-", 1)[1], 16) / 16**10


def brief_runs(seconds: float) -> Play:
    """Return runs of about this length, from half to one and a half of it; a study's first run starts at any point."""
    return lambda spec, _attempt: Succeeds(throughput=throughput, load_seconds=seconds * (0.5 + fraction(spec)))


def real_runs(seconds: float) -> Play:
    """Return runs of this length, plus or minus a fifth, with a tenth of it pulling and half of it loading."""

    def play(spec: RunSpec, _attempt: int) -> Succeeds:
        first = spec.trials[0].index == 0
        length = seconds * (fraction(spec) if first else 0.8 + 0.4 * fraction(spec))
        return Succeeds(
            throughput=throughput, pull_seconds=0.1 * length, load_seconds=0.5 * length, trial_seconds=0.4 * length
        )

    return play


def study(name: str, *, trials: int) -> dict[str, Any]:
    """Return a study of that many trials."""
    return make_study_document(name, NAMESPACE, searchSpace=SPACE, budget={"maxTrials": trials})


class Bench:
    """One control plane with nodes, kubelet and operator, and the observations of them."""

    def __init__(
        self, cluster: ControlPlane, operator: OperatorProcess, kubelet: SimulatedKubelet, queue: Path
    ) -> None:
        self.cluster = cluster
        self._queue = queue
        self.operator = operator
        self.kubelet = kubelet
        self._audit = AuditTail(cluster.directory / "audit.log", OPERATOR, KUBELET_AGENT)

    def single(self, *, studies: int, trials: int) -> dict[str, Any]:
        """Tune studies one after another."""
        self.kubelet.play = brief_runs(0.0)
        names = [f"single-{number}" for number in range(studies)]
        for name in names:
            apply_documents(self.cluster, study(name, trials=trials))
            wait_for_condition(self.cluster, NAMESPACE, name, "Succeeded", seconds=30 + 5 * trials)
        return {"studies": studies, "trials": trials, **figures_of(self.transitions(names))}

    def crowd(self, *, studies: int, trials: int, run_seconds: float) -> dict[str, Any]:
        """Tune many studies in parallel, with one kill half way."""
        self.kubelet.play = brief_runs(run_seconds)
        names = [f"crowd-{number}" for number in range(studies)]
        done = len(self.kubelet.runs)
        with Sampler(self.operator) as sampler:
            began = now()
            self.apply(names, trials=trials)
            wait_until(lambda: len(self.kubelet.runs) - done >= studies * trials // 2, seconds=7200)
            restart = self.restart(names)
            wait_until(lambda: len(self.kubelet.runs) - done >= studies * trials, seconds=7200)
            wait_until(lambda: not self.unfinished(names), seconds=600, pause=5)
            ended = now()
        seen = self.transitions(names, but_not_in=(restart.pop("killed_at"), restart.pop("reconciled_at")))
        requests = requests_in(self.entries(), began, ended)
        return {
            "studies": studies,
            "trials": trials,
            "run_seconds": run_seconds,
            "wall_seconds": round((ended - began).total_seconds()),
            "transitions": figures_of(seen),
            "requests": rates_of(requests, runs=studies * trials),
            "restart": restart,
            "work_queue": depths(self._queue, began, ended),
            **sampler.report(),
        }

    def apply(self, names: list[str], *, trials: int) -> None:
        """Apply a study for each name, in portions: for hundreds in one call kubectl exceeds its timeout."""
        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            apply_documents(self.cluster, *(study(name, trials=trials) for name in some))

    def restart(self, names: list[str]) -> dict[str, Any]:
        """Kill the operator, start it, and return when it had read the journal of each unfinished study again."""
        active = self.unfinished(names)
        killed_at = now()
        self.operator.kill()
        self.operator.start()
        started_at = now()
        wait_until(lambda: len(self.looked_at(started_at)) >= len(active), seconds=300, pause=1)
        looked_at = self.looked_at(started_at)
        return {
            "killed_at": killed_at,
            "reconciled_at": max(looked_at.values()),
            "studies_under_way": len(active),
            "first_study_looked_at_seconds": round((min(looked_at.values()) - started_at).total_seconds(), 2),
            "all_studies_looked_at_seconds": round((max(looked_at.values()) - started_at).total_seconds(), 2),
        }

    def looked_at(self, since: datetime) -> dict[str, datetime]:
        """Return when the journal of each study was first read after `since`."""
        found: dict[str, datetime] = {}
        for entry in self.entries():
            if is_operator(entry) and (entry.verb, entry.resource) == ("list", "configmaps"):
                found.setdefault(entry.uri, entry.answered_at) if entry.received_at >= since else None
        return found

    def steady(self, *, studies: int, minutes: float, run_seconds: float) -> dict[str, Any]:
        """Count requests while many studies are active with runs of a realistic length."""
        self.kubelet.play = real_runs(run_seconds)
        names = [f"steady-{number}" for number in range(studies)]
        self.apply(names, trials=30)
        time.sleep(SETTLING.total_seconds())
        with Sampler(self.operator) as sampler:
            began = now()
            time.sleep(60 * minutes)
            ended = now()
        requests = requests_in(self.entries(), began, ended)
        return {
            "studies": studies,
            "run_seconds": run_seconds,
            "wall_seconds": round((ended - began).total_seconds()),
            "transitions": figures_of(self.transitions(names)),
            "requests": rates_of(requests, runs=requests.jobs_created),
            "work_queue": depths(self._queue, began, ended),
            **sampler.report(),
        }

    def unfinished(self, names: list[str]) -> set[str]:
        """Return which of the studies have not succeeded."""
        template = '{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Succeeded")].status}{"\\n"}{end}'
        text = self.cluster.kubectl("get", "tstudy", "--namespace", NAMESPACE, f"--output=jsonpath={template}")
        return set(names) - {line.split()[0] for line in text.splitlines() if line.endswith(" True")}

    def transitions(
        self, names: list[str], *, but_not_in: tuple[datetime, datetime] | None = None
    ) -> tuple[Transition, ...]:
        """Return the transitions of these studies, without those that overlap a downtime of the operator."""
        return transitions(self.entries(), frozenset(names), but_not_in)

    def entries(self) -> list[AuditEntry]:
        """Return the entries of the API server's audit log."""
        return self._audit.entries()


def figures_of(seen: tuple[Transition, ...]) -> dict[str, Any]:
    """Return p50, p95 and maximum of the seconds from result to next Job, in total and in parts."""
    return {
        "transitions": len(seen),
        "result_to_job_seconds": spread([each.total for each in seen]),
        "result_to_journal_request_seconds": spread([each.to_journal for each in seen]),
        "journal_request_to_job_seconds": spread([each.total - each.to_journal for each in seen]),
    }


def rates_of(requests: Requests, *, runs: int) -> dict[str, Any]:
    """Return counts and rates of the operator's requests."""
    without = requests.total - requests.jobs_created
    return {
        "runs": runs,
        "per_second": round(requests.total / requests.seconds, 2),
        "per_second_without_job_creation": round(without / requests.seconds, 2),
        "per_run": round(requests.total / max(runs, 1), 2),
        "per_run_without_job_creation": round(without / max(runs, 1), 2),
        "by_kind": dict(requests.by_kind.most_common()),
        "errors_by_code": dict(requests.errors),
    }


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)  # noqa: TID251 - a benchmark


def machine() -> dict[str, Any]:
    """Return the machine on which the values were measured."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "kubernetes": "1.34, on the same cores: etcd, API server, scheduler, controller manager, played kubelet",
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
    }


def main() -> None:
    """Run the parts and write `results/cluster.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--run-seconds", type=float, default=20.0)
    parser.add_argument("--single-studies", type=int, default=5)
    parser.add_argument("--steady-minutes", type=float, default=12.0)
    parser.add_argument("--steady-run-seconds", type=float, default=300.0)
    parser.add_argument("--folder", type=Path, help="where logs and data stay; without it they are removed")
    parser.add_argument("--result", type=Path, default=RESULTS / "cluster.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="infpop-bench-") as temporary:
        report = measure(arguments, arguments.folder or Path(temporary))
    arguments.result.parent.mkdir(exist_ok=True)
    arguments.result.write_text(json.dumps(report, indent=2) + "\n")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the whole report."""
    report: dict[str, Any] = {"machine": machine()}
    folder.mkdir(parents=True, exist_ok=True)
    with start_control_plane(folder / "cluster", audit=True) as cluster:
        install_operator(cluster)
        cluster.kubectl("create", "namespace", NAMESPACE)
        create_nodes(cluster, [gpu_node(f"gpu-{number}") for number in range(arguments.studies)])
        operator = OperatorProcess(
            cluster,
            folder,
            namespace=NAMESPACE,
            prepare=partial(watch_queue, folder / "queue.jsonl"),
        )
        with SimulatedKubelet(cluster.kubeconfig, brief_runs(0.0)) as kubelet:
            operator.start()
            try:
                bench = Bench(cluster, operator, kubelet, folder / "queue.jsonl")
                for name, part in parts(bench, arguments):
                    began = time.monotonic()
                    report[name] = part()
                    report[name]["load_average_after"] = round(os.getloadavg()[0], 2)
                    print(f"{name}: {time.monotonic() - began:.0f} s\n{json.dumps(report[name], indent=2)}", flush=True)
            finally:
                operator.stop()
    report["log_complaints"] = operator.complaints()
    return report


def parts(bench: Bench, arguments: argparse.Namespace) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    """Return the parts to run, in order."""
    studies, trials = arguments.studies, arguments.trials
    wanted: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    if arguments.single_studies:
        wanted.append(("single", lambda: bench.single(studies=arguments.single_studies, trials=trials)))
    if trials:
        wanted.append(("crowd", lambda: bench.crowd(studies=studies, trials=trials, run_seconds=arguments.run_seconds)))
    if arguments.steady_minutes:
        wanted.append(
            (
                "steady",
                lambda: bench.steady(
                    studies=studies, minutes=arguments.steady_minutes, run_seconds=arguments.steady_run_seconds
                ),
            )
        )
    return wanted


if __name__ == "__main__":
    main()
