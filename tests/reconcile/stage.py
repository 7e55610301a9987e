"""A stage for the operator: a cluster in memory with one node, and one study that is driven and read.

Time passes where the test lets it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.nodes import gpu_node
from factories.study_objects import make_study_body
from infpop_operator.adapters.journal import decode_line
from infpop_operator.core.model import EndedRun, Finished, StartedRun
from infpop_runner.contract import RunSpec, TrialResult
from reconcile.memory_cluster import STUDY, Body, MemoryCluster
from reconcile.operators import MOST_PASSES, Operator
from reconcile.played_nodes import NODE, PlayedNodes

ONE_CELL = {"gpuCount": [2], "batchSize": [8]}  # a search space
NO_FAILURE = {"maxTrials": 1, "maxFailedTrials": 0}  # a budget


def hang(_: RunSpec) -> bool:
    """Let no run come to an end by itself."""
    return True


class Passes(Protocol):
    """What drives a study."""

    async def try_pass(self) -> float | None:
        """Do one pass; one that fails is done again by the next call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What must not depend on what happened on the way."""

    best: Mapping[str, Any]
    trials: list[tuple[str, ...]]
    progress: str
    published: str | None


class Stage:
    """A cluster with one node of eight GPUs, and a study."""

    def __init__(self, **spec: object) -> None:
        self.cluster = MemoryCluster()
        self.nodes = PlayedNodes(self.cluster)
        self.cluster.create("nodes", gpu_node(NODE))
        self.cluster.create("throughputstudies", make_study_body(**spec))

    async def operator(self, **changes: Any) -> Operator:  # noqa: ANN401 - of `Operator`
        """Return an operator that has just started."""
        operator = Operator(self.cluster, **changes)
        await operator.list_all()
        return operator

    @property
    def status(self) -> Mapping[str, Any]:
        """The status of the study, empty while there is none."""
        status: Mapping[str, Any] = self.cluster.get("throughputstudies").get("status", {})
        return status

    @property
    def runs(self) -> list[str]:
        """The Jobs that exist, the oldest first."""
        return [job["metadata"]["name"] for job in self.cluster.all("jobs")]

    @property
    def run(self) -> str:
        """The one Job that exists."""
        (run,) = self.runs
        return run

    def condition(self, kind: str) -> tuple[str, str] | None:
        """Return the status and the reason of a condition, None where there is none."""
        found = (each for each in self.status.get("conditions", ()) if each["type"] == kind)
        return next(((each["status"], each["reason"]) for each in found), None)

    def is_done(self) -> bool:
        """Say whether nothing is left to do: the study has succeeded, and every Job may be removed."""
        succeeded = (self.condition("Succeeded") or ("",))[0] == "True"
        return succeeded and all("ttlSecondsAfterFinished" in job["spec"] for job in self.cluster.all("jobs"))

    async def finish(self, operator: Passes) -> None:
        """Drive the study to its end: a pass, a move of the Jobs, and a second that passes, again and again."""
        self.nodes.holds = lambda _: False
        for _ in range(MOST_PASSES):
            await operator.try_pass()
            if not self.nodes.step() and self.is_done():
                await operator.try_pass()
                return
            self.nodes.let_go()
            self.expire()
            self.cluster.clock.advance(1.0)
        raise AssertionError(f"the study does not end: {self.status.get('conditions')}")

    def forge(self, status: Body, *, whole: bool) -> None:
        """Change the status as a user may who has the right to: the `whole` of it, or parts."""
        self.cluster.patch("throughputstudies", STUDY, {"status": None} if whole else {"status": status})

    def expire(self) -> None:
        """Remove the Jobs whose time to live is over at once, as the cluster does."""
        for job in self.cluster.all("jobs"):
            if job["spec"].get("ttlSecondsAfterFinished") == 0:
                self.cluster.remove("jobs", job["metadata"]["name"])

    def recorded(self) -> tuple[Counter[str], Counter[str]]:
        """Return how often the journal has each run as started, and as ended; that it is stopping is a step too."""
        steps = [decode_line(line) for journal in self.journals() for line in journal["data"].values()]
        started = Counter(step.run.name for step in steps if isinstance(step, StartedRun) and step.stopping is None)
        return started, Counter(step.run.name for step in steps if isinstance(step, EndedRun))

    def results(self) -> list[TrialResult]:
        """Return the results of the trials of all runs that have ended with one, in the order of the journal."""
        steps = [decode_line(line) for journal in self.journals() for line in journal["data"].values()]
        ends = [step.observation for step in steps if isinstance(step, EndedRun)]
        return [result for end in ends if isinstance(end, Finished) for result in end.result.trials]

    def journals(self) -> list[Body]:
        """Return the ConfigMaps of the journal."""
        maps = self.cluster.all("configmaps")
        return [each for each in maps if each["metadata"]["labels"]["infpop.io/content"] == "journal"]

    def events(self) -> list[str]:
        """Return the reasons of the Events, the oldest first."""
        return [event["reason"] for event in self.cluster.all("events")]

    def created_jobs(self) -> Counter[str]:
        """Return how often each Job was created."""
        return Counter(name for plural, name in self.cluster.created if plural == "jobs")

    def outcome(self) -> Outcome:
        """Return what came out of the study."""
        columns = ("pool", "round", "gpuCount", "batchSize", "state", "throughput", "reason")
        published = self.cluster.find("configmaps", "best")
        return Outcome(
            best={key: value for key, value in self.status["best"].items() if key != "run"},
            trials=sorted(tuple(str(row.get(column)) for column in columns) for row in self.status["trials"]),
            progress=self.status["progress"],
            published=None if published is None else published["data"]["args"],
        )

    def row(self) -> tuple[str, str | None, int]:
        """Return the state, the reason and the attempts of the study's one trial."""
        (only,) = self.status["trials"]
        return only["state"], only.get("reason"), only["attempts"]

    def states(self) -> list[str]:
        """Return the states of the live runs, as the status says them."""
        return [run["state"] for run in self.status["runs"]]

    async def later(self, operator: Operator) -> None:
        """Do what is to be done now, and show it when the pause between two writes of the status is over."""
        await operator.settle()
        self.cluster.clock.advance(6)
        await operator.settle()

    async def work(self, operator: Operator) -> str:
        """Have the study's one run at work, and return its name."""
        await operator.settle()
        self.nodes.start(self.run)
        self.nodes.holds = hang
        await self.later(operator)
        return self.run


async def at_work(*, spec: Mapping[str, object] | None = None, **changes: Any) -> tuple[Stage, Operator, str]:  # noqa: ANN401
    """Return a study whose one run is at work, as its status says; its operator; and the run."""
    stage = Stage(**{"searchSpace": ONE_CELL, "budget": NO_FAILURE, **(spec or {})})
    operator = await stage.operator(**changes)
    return stage, operator, await stage.work(operator)
