"""A day of a cluster's ordinary failures in ten minutes: nothing hangs and nothing is lost.

The operator's studies use a clock that is 240 times as fast as wall time (`tests/cluster/accelerated_operator`); etcd,
API server, scheduler and controller manager are real and use wall time, so each second that they take is four minutes
here. Only while the API server is down, for three minutes of wall time, and until the controllers are back, does the
fast clock run at wall speed.

    python benchmarks/soak_cluster.py [--hours 24] [--seed 1]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from cluster.operator_process import install_operator  # noqa: E402
from cluster.soak import Findings, Plan, Soak  # noqa: E402
from controlplane.cluster import start_control_plane  # noqa: E402

NAMESPACE = "serving"
RESULT = HERE / "results" / "cluster_soak.json"
MOST_GROWTH_MIB = 20.0


def plan(*, hours: float, seed: int, speed: float, outage_seconds: float) -> Plan:
    """Return the events of that many hours: watches are cut every 24 minutes, a node is removed every three hours."""
    return Plan(
        seed=seed,
        hours=hours,
        speed=speed,
        studies=4,
        nodes=5,
        outage_seconds=outage_seconds,
        kills=round(hours / 6),
        nodes_lost=round(hours / 6),
        nodes_drained=round(hours / 6),
        evictions=round(hours),
        cuts=round(2.5 * hours),
        batches=(1, 4, 16, 64, 256, 1024),
    )


def faults(findings: Findings) -> list[str]:
    """Return the problems found, as text."""
    growth = findings.rss_mib["end"] - findings.rss_mib["middle"]
    found = {
        "best configurations that are not the best": findings.wrong_bests,
        "cells with two results": findings.measured_twice,
        "cells that a pod measured and no journal has": findings.forgotten,
        "lines in the log that must not be there": findings.complaints,
        f"memory grew by {growth:.1f} MiB": growth > MOST_GROWTH_MIB,
    }
    return [f"{what}: {which}" for what, which in found.items() if which]


def main() -> None:
    """Run the soak test, write `results/cluster_soak.json`, and fail on any problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=240.0)
    parser.add_argument("--outage-seconds", type=float, default=180.0)
    parser.add_argument("--folder", type=Path, help="where logs and data stay; without it they are removed")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    wanted = plan(
        hours=arguments.hours, seed=arguments.seed, speed=arguments.speed, outage_seconds=arguments.outage_seconds
    )
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="infpop-soak-") as temporary:
        findings = soak(wanted, arguments.folder or Path(temporary))
    report = {
        "plan": asdict(wanted),
        "cores": os.cpu_count(),
        "load_average_before": round(load, 2),
        "wall_seconds": round(time.monotonic() - began),
        "findings": asdict(findings),
        "faults": faults(findings),
    }
    arguments.result.parent.mkdir(exist_ok=True)
    arguments.result.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    if report["faults"]:
        raise SystemExit("not as it should be")


def soak(wanted: Plan, folder: Path) -> Findings:
    """Return the state of a new control plane and an operator after the soak test."""
    folder.mkdir(parents=True, exist_ok=True)
    with start_control_plane(folder / "cluster") as cluster:
        install_operator(cluster)
        cluster.kubectl("create", "namespace", NAMESPACE)
        return Soak(cluster, NAMESPACE, folder, wanted).run()


if __name__ == "__main__":
    main()
