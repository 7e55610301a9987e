"""Help is fast because it imports very little, and the pure core imports no framework."""

import subprocess
import sys

import pytest

SLOW = {
    "httpx",
    "hyperopt",
    "kopf",
    "kubernetes",
    "matplotlib",
    "numpy",
    "pandas",
    "plotly",
    "prometheus_client",
    "psutil",
    "scipy",
    "statsmodels",
    "torch",
    "vllm",
    "yaml",
}


def loaded_by(program: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has imported after `program`."""
    report = "; import sys; sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", program + report], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["tune", "--help"],
        ["export", "--help"],
        ["report", "--help"],
        ["replay", "retune", "--help"],
        ["operator", "--help"],
        ["--version"],
    ],
)
def test_help_loads_no_slow_module(arguments: list[str]) -> None:
    """`infpop --help` answers before any working library is imported."""
    program = f"from infpop_operator.cli.main import app; app({arguments!r}, standalone_mode=False)"
    assert loaded_by(program) & SLOW == set()


def test_starting_a_study_loads_no_engine() -> None:
    """The deciding side does not measure, so it needs no engine in its process."""
    assert loaded_by("import infpop_operator.cli.tune") & {"torch", "vllm", "transformers", "hyperopt"} == set()


def test_exporting_from_a_directory_needs_no_cluster_library() -> None:
    """`infpop export DIRECTORY` works in the base install: a format loads its library when it is asked for."""
    program = "import infpop_operator.cli.export, infpop_operator.cli.export_best, infpop_operator.cli.export_trials"
    extras = {"kopf", "kubernetes", "hyperopt", "llmd_benchmark_report", "mlflow", "numpy", "pandas", "pyarrow"}
    assert loaded_by(program) & extras == set()


def test_the_python_package_loads_no_library_of_an_extra() -> None:
    """`import infpop` works in the base install; a table or a picture loads what it needs when it is asked for."""
    extras = {"hyperopt", "kopf", "kubernetes", "matplotlib", "numpy", "pandas", "plotly", "pyarrow", "scipy", "torch"}
    assert loaded_by("import infpop") & extras == set()


def test_importing_the_python_package_loads_nothing_that_it_may_not_need() -> None:
    """`import infpop` loads neither the search nor pydantic; a name loads its module when it is first used."""
    assert loaded_by("import infpop") & {*SLOW, "pydantic", "infpop_runner"} == set()
    loaded = "import infpop; infpop.load; import sys; assert 'infpop_operator.local.tune' not in sys.modules"
    assert loaded_by(loaded) & (SLOW - {"yaml"}) == set()


def test_the_operator_loads_no_engine() -> None:
    """The operator's image needs no torch: no engine is imported, not even for the first search request."""
    program = "import infpop_operator.handlers.operator; from infpop_operator.core.search import warm_up; warm_up()"
    assert loaded_by(program) & {"torch", "vllm", "transformers"} == set()


def test_the_runner_loads_no_cluster_library() -> None:
    """The runner's image needs neither kopf nor a Kubernetes client."""
    assert loaded_by("import infpop_runner.main") & {"kopf", "kubernetes", "hyperopt"} == set()
