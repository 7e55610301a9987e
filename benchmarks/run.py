"""Run every benchmark that needs only this machine; results go to `results/`, one JSON file each.

    python benchmarks/run.py [--pairs 30] [--studies 200] [--soak-hours 24]

The two cluster benchmarks start their own control plane and take an hour of two cores; fewer studies and hours take
less. Those of the search need recorded landscapes and are run separately (see `README.md`).
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Run the benchmarks one after another; the first failure ends the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="30", help="pairs of each fidelity comparison")
    parser.add_argument("--studies", default="200", help="studies at once on a cluster")
    parser.add_argument("--soak-hours", default="24", help="simulated hours of trouble on a cluster")
    arguments = parser.parse_args()
    subprocess.run([sys.executable, str(HERE / "bench_startup.py")], check=True)
    subprocess.run([sys.executable, str(HERE / "bench_overhead.py")], check=True)
    subprocess.run([sys.executable, str(HERE / "bench_fidelity.py"), "--pairs", arguments.pairs], check=True)
    subprocess.run([sys.executable, str(HERE / "adaptive_stand_in.py")], check=True)
    subprocess.run([sys.executable, str(HERE / "bench_adaptive.py")], check=True)
    subprocess.run([sys.executable, str(HERE / "bench_scrape.py")], check=True)
    subprocess.run([sys.executable, str(HERE / "bench_cluster.py"), "--studies", arguments.studies], check=True)
    subprocess.run([sys.executable, str(HERE / "soak_cluster.py"), "--hours", arguments.soak_hours], check=True)


if __name__ == "__main__":
    main()
