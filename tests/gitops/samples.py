"""Studies as API server JSON at each point of their life, with statuses written by the operator's own code.

`PYTHONPATH=tests python -m gitops.samples` writes them to deploy/argocd/testdata.
"""

from pathlib import Path
from typing import Any

import yaml

from api.status_samples import decision_of, ended_run, run_of
from factories.studies import START, make_measured, make_study
from infpop_operator.api.resource import API_VERSION, KIND
from infpop_operator.api.status import refused_status, to_status
from infpop_operator.api.status_context import StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.status_writer import dump_status
from infpop_operator.core.decision import Verdict
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import History, Phase, Round, Running, StartedRun, Waiting
from infpop_runner.contract import EngineSpec

FOLDER = Path(__file__).parents[2] / "deploy" / "argocd" / "testdata"
_GENERATION = 2
_STUDY = make_study(engine=EngineSpec(name="vllm"))
_RUN = run_of(0, 1)
_ROUNDS = (Round(pool="a100", number=1, identity="i1"),)
_LIVE = History(started_at=START, rounds=_ROUNDS, active=(StartedRun(run=_RUN, started_at=START),))
_ENDED = History(started_at=START, rounds=_ROUNDS, ended=(ended_run(_RUN, make_measured(1000.0)),))
_MISTAKE = Problem(field="spec.budget.deadline", value="0s", message="is no time", remedy="Remove it")
_DONE = decision_of(_ENDED, verdict=Verdict.SUCCEEDED, reason="SpaceExhausted", message="every configuration was tried")
_STUCK = decision_of(_ENDED, verdict=Verdict.STALLED, reason="TooManyFailures", message="6 runs broke, 5 are tolerated")
_UNSCHEDULABLE = Waiting(reason="Unschedulable", detail="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")


def samples() -> dict[str, dict[str, Any]]:
    """Return a study for each case, by the name of the case."""
    measuring = to_status(_STUDY, decision_of(_LIVE), START, context=_standing(Running(phase=Phase.MEASURING)))
    succeeded = to_status(_STUDY, _DONE, START, context=_standing())
    return {
        "new": _study(None),
        "edited": _study(measuring, generation=_GENERATION + 1),
        "refused": _study(refused_status([_MISTAKE], START, context=_standing())),
        "measuring": _study(measuring),
        "waiting": _study(to_status(_STUDY, decision_of(_LIVE), START, context=_standing(_UNSCHEDULABLE))),
        "stalled": _study(to_status(_STUDY, _STUCK, START, context=_standing())),
        "succeeded": _study(succeeded),
        "suspended": _study(to_status(_STUDY, decision_of(_LIVE), START, context=_standing(suspended=True))),
    }


def _standing(seen: Running | Waiting | None = None, *, suspended: bool = False) -> StatusContext:
    return StatusContext(
        generation=_GENERATION,
        observations={} if seen is None else {_RUN.name: seen},
        suspended=suspended,
    )


def _study(status: StudyStatus | None, *, generation: int = _GENERATION) -> dict[str, Any]:
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "study", "namespace": "serving", "generation": generation},
        "spec": {
            "model": {"name": "example/model"},
            "engine": {"name": "vllm"},
            "searchSpace": {"gpuCount": [8], "batchSize": [1]},
            "nodePools": [{"name": "a100", "gpuProduct": "A100"}],
        },
    }
    return document if status is None else {**document, "status": dump_status(status)}


def render(study: dict[str, Any]) -> str:
    """Return a study as it is written to its file."""
    return yaml.safe_dump(study, sort_keys=False, width=120)


if __name__ == "__main__":
    for name, study in samples().items():
        (FOLDER / f"{name}.yaml").write_text(render(study))
