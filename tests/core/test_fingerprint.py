"""Identities: which measurements may be compared, and run names that are the same for the same run."""

from dataclasses import replace

import pytest

from factories.studies import make_cell, make_pool, make_study
from infpop_operator.core import fingerprint
from infpop_operator.core.extra_metrics import ExtraMetric
from infpop_operator.core.fingerprint import measurement_identity, run_name
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.study import Algorithm, Study
from infpop_runner.contract import EngineSpec

STUDY = make_study()
# Users' journals hold identities and names that were computed this way.
IDENTITIES = ["ade7d06369a10182", "f661820f9d649c9d", "6616096ae2bf2576"]
NAMES = ("study-1b5593a634", "study-05fae846bc")


def test_an_upgrade_of_the_operator_keeps_what_was_measured() -> None:
    """The same study has the same identity and run names in every version, until the measuring method changes."""
    rich = replace(
        STUDY,
        engine=EngineSpec(name="vllm", args={"block_size": 32}),
        algorithm=Algorithm(seed=7, trials_per_run=4),
        metrics=(ExtraMetric(name="power", query="sum(p)", unit="watts"),),
        pools=(make_pool(software="vllm 0.32.0", cpu_millicores=8000),),
    )
    cpu = make_pool(device="cpu", memory_bytes=2**34)
    identities = [measurement_identity(study, study.pools[0]) for study in (STUDY, rich)]
    assert [*identities, measurement_identity(STUDY, cpu)] == IDENTITIES
    assert (_name(), _name(longer=True)) == NAMES


def test_memory_is_part_of_the_identity_where_the_devices_are_cpus() -> None:
    """On CPUs the memory limit sizes the KV cache, so numbers under another limit are never compared with these."""
    identities = [
        measurement_identity(STUDY, make_pool(device="cpu", memory_bytes=amount)) for amount in (None, 2**34, 2**35)
    ]
    assert len(set(identities)) == 3


def test_another_method_of_measuring_changes_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a runner that measures in another way are never compared with older ones."""
    before = measurement_identity(STUDY, STUDY.pools[0])
    monkeypatch.setattr(fingerprint, "MEASUREMENT_VERSION", fingerprint.MEASUREMENT_VERSION + 1)
    assert measurement_identity(STUDY, STUDY.pools[0]) != before


def _name(study: Study = STUDY, **changes: object) -> str:
    trials = (PlannedTrial(index=0, configuration=make_cell(1, 8)),)
    return run_name(study, replace(Run(name="", pool="a100", round=1, attempt=1, trials=trials), **changes))


def test_planning_the_same_run_twice_names_it_the_same() -> None:
    """A restart between planning and starting does not create a second run."""
    assert _name() == _name()


def test_the_longest_study_name_still_makes_a_label_value() -> None:
    """A run's name is a Kubernetes label value: 63 characters at most."""
    assert len(_name(replace(STUDY, name="x" * 63))) == 63
