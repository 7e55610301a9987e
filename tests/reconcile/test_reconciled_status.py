"""The status of a study: written when something changed and no more often, what hinders the study, and its way back."""

import asyncio
from collections.abc import Mapping

import pytest

from controlplane.nodes import gpu_node
from infpop_operator.adapters.kube.errors import KubeConflictError, KubeError, KubeQuotaError
from infpop_operator.core.errors import InfPopError, StoreError
from infpop_operator.core.model import Missing, Sample, WatchedRun
from infpop_operator.settings import Settings
from reconcile.memory_cluster import STUDY, Answer, Request, refusal
from reconcile.operators import KEY, Operator
from reconcile.stage import ONE_CELL, Stage, at_work
from reconcile.wire import CarryOut, let_pass, refusing

QUOTA = 'configmaps "x" is forbidden: exceeded quota: maps, requested: count/configmaps=1, used: 0, limited: 0'
DENIED = 'configmaps is forbidden: User "infpop" cannot create resource "configmaps" in API group ""'
STATUS = "PUT throughputstudies/status"


def writes(operator: Operator, since: int = 0) -> int:
    """Return how often the operator wrote the status."""
    return operator.said(since).count(STATUS)


@pytest.mark.parametrize(
    ("code", "reason", "message", "expected"),
    [
        (403, "Forbidden", QUOTA, "QuotaExceeded"),
        (403, "Forbidden", DENIED, "MissingRights"),
        (422, "Invalid", "data: too long", "ApiRefused"),
        (429, "TooManyRequests", "later", "ApiUnavailable"),
        (500, "InternalError", "etcdserver: request timed out", "ApiUnavailable"),
    ],
)
def test_a_hindrance_is_reported_until_it_is_resolved(code: int, reason: str, message: str, expected: str) -> None:
    """A journal that cannot be written is a reason, and no Job is created; afterwards the study continues."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator(interference=refusing(code, reason, message, said="POST configmaps"))
        for _ in range(2):
            with pytest.raises(KubeError):
                await operator.reconcile()
        assert stage.condition("Ready") == ("False", expected)
        assert (stage.runs, writes(operator)) == ([], 1)
        ready = next(each for each in stage.status["conditions"] if each["type"] == "Ready")
        assert message[-20:] in ready["message"]
        operator.wire.interference = let_pass
        await stage.finish(operator)
        return stage

    assert asyncio.run(play()).condition("Succeeded") == ("True", "SpaceExhausted")


def test_a_journal_that_cannot_be_read_is_reported_until_it_can() -> None:
    """Nothing is measured meanwhile, and the study continues when the journal is restored."""

    async def play() -> Stage:
        stage, _, _ = await at_work()
        (journal,) = stage.journals()
        name, first = journal["metadata"]["name"], journal["data"]["000000"]
        stage.cluster.patch("configmaps", name, {"data": {"000000": "rubbish"}})
        operator = await stage.operator()
        with pytest.raises(StoreError):
            await operator.reconcile()
        assert stage.condition("Ready") == ("False", "JournalUnreadable")
        assert stage.condition("Accepted") == ("True", "Valid")
        stage.cluster.patch("configmaps", name, {"data": {"000000": first}})
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Ready") == ("True", "Succeeded")
    assert stage.recorded() == (stage.created_jobs(), stage.created_jobs())


@pytest.mark.parametrize("suspended", [False, True])
def test_a_hindrance_keeps_the_rest_of_the_status(suspended: bool) -> None:  # noqa: FBT001
    """Trials and the best so far stay; that the study is suspended comes before what hinders it."""

    async def play() -> tuple[Mapping[str, object], Stage]:
        stage = Stage(budget={"maxTrials": 1})
        operator = await stage.operator()
        await stage.finish(operator)
        before = dict(stage.status)
        stage.cluster.change(budget={"maxTrials": 2}, suspend=suspended)
        again = await stage.operator(interference=refusing(500, "InternalError", "etcd", said="GET configmaps"))
        with pytest.raises(KubeError):
            await again.reconcile()
        return before, stage

    before, stage = asyncio.run(play())
    assert stage.status["trials"] == before["trials"]
    assert stage.status["best"] == before["best"]
    expected = ("True", "Suspended") if suspended else ("False", "NotSuspended")
    assert stage.condition("Suspended") == expected
    assert stage.condition("Ready") == ("False", "Suspended" if suspended else "ApiUnavailable")


@pytest.mark.parametrize("said", [STATUS, "PATCH configmaps"])
def test_a_conflict_is_no_hindrance(said: str) -> None:
    """Another client changed the object: the pass fails, nothing is reported, and the next reads the new version."""

    async def play() -> Stage:
        stage, operator, _ = await at_work()
        stage.nodes.finish(stage.run)
        before = stage.status
        operator.wire.interference = refusing(409, "Conflict", "the object has been modified", said=said)
        with pytest.raises(KubeConflictError):
            await operator.reconcile()
        assert stage.status == before
        operator.wire.interference = let_pass
        await stage.finish(operator)
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Succeeded") == ("True", "MaxTrialsReached")
    assert [trial["attempts"] for trial in stage.status["trials"]] == [1]
    assert stage.recorded() == (stage.created_jobs(), stage.created_jobs())


def test_a_status_that_was_changed_meanwhile_is_not_overwritten() -> None:
    """The study was changed while its pass was under way: the pass fails, and the next one sees the change."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()

        async def change_first(request: Request, carry_out: CarryOut) -> Answer:
            if request.said == STATUS and stage.cluster.get("throughputstudies")["metadata"]["generation"] == 1:
                stage.cluster.change(suspend=True)
            return await carry_out()

        operator.wire.interference = change_first
        with pytest.raises(KubeConflictError):
            await operator.reconcile()
        assert stage.status == {}
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Suspended") == ("True", "Suspended")
    assert stage.status["observedGeneration"] == 2


def test_details_are_written_at_most_once_in_a_pause() -> None:
    """A run that moves from phase to phase is written when the pause is over; a trial's end is written at once."""

    async def play() -> list[int]:
        stage = Stage()
        operator = await stage.operator(settings=Settings(runner_image="runner:1", status_pause_seconds=5))
        counts = []
        await operator.settle()
        counts.append(writes(operator))
        stage.nodes.make_pod(stage.run)
        stage.nodes.bind(stage.run)
        for seconds in (1.0, 3.9):
            stage.cluster.clock.advance(seconds)
            await operator.settle()
            counts.append(writes(operator))
        stage.cluster.clock.advance(0.1)
        await operator.settle()
        counts.append(writes(operator))
        stage.nodes.finish(stage.run)
        await operator.settle()
        counts.append(writes(operator))
        return counts

    assert asyncio.run(play()) == [1, 1, 1, 2, 3]


def test_a_new_operator_writes_at_once_what_it_sees() -> None:
    """The pause counts from its own last write: it knows of none."""

    async def play() -> int:
        stage = Stage(searchSpace=ONE_CELL)
        await (await stage.operator()).settle()
        stage.nodes.make_pod(stage.run)
        stage.nodes.bind(stage.run)
        operator = await stage.operator()
        await operator.settle()
        return writes(operator)

    assert asyncio.run(play()) == 1


def test_an_event_that_cannot_be_written_delays_nothing() -> None:
    """Events are for people: the study continues without them."""

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        await stage.finish(
            await stage.operator(interference=refusing(403, "Forbidden", "exceeded quota: events", said="POST events"))
        )
        return stage

    stage = asyncio.run(play())
    assert stage.events() == []
    assert stage.condition("Succeeded") == ("True", "SpaceExhausted")


def test_conditions_are_reported_after_the_status_has_them() -> None:
    """An Event cannot be withdrawn; what the journal has is reported although the status could not be written."""

    async def play() -> tuple[list[str], list[str]]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator(interference=refusing(500, "InternalError", "etcd", said=STATUS))
        for _ in range(2):
            await operator.try_pass()
        before = stage.events()
        operator.wire.interference = let_pass
        await operator.settle()
        return before, stage.events()

    before, after = asyncio.run(play())
    assert before == ["RoundStarted"]
    assert sorted(after) == ["RoundStarted", "Valid"]


@pytest.mark.parametrize("suspended", [False, True])
def test_pools_that_cannot_be_tuned_are_reported_with_their_reasons(suspended: bool) -> None:  # noqa: FBT001
    """Each pool has a sentence, the first of them is the reason; a study that is suspended says so as well."""

    async def play() -> Stage:
        pools = [{"name": "v100", "gpuProduct": "V100"}, {"name": "any", "nodeSelector": {"pool": "mixed"}}]
        stage = Stage(nodePools=pools, suspend=suspended)
        for name, product in (("m1", "NVIDIA-A100-SXM4-40GB"), ("m2", "NVIDIA-H100-80GB-HBM3")):
            stage.cluster.create("nodes", gpu_node(name, product=product, extra_labels={"pool": "mixed"}))
        await (await stage.operator()).settle()
        return stage

    stage = asyncio.run(play())
    conditions = {each["type"]: each for each in stage.status["conditions"]}
    if suspended:
        assert stage.condition("Suspended") == ("True", "Suspended")
    else:
        assert stage.condition("Ready") == ("False", "NoMatchingNodes")
        assert conditions["Ready"]["message"].startswith("pool v100: ")
        assert "; pool any: " in conditions["Ready"]["message"]
    assert {pool["name"]: pool.get("reason") for pool in stage.status["pools"]} == {
        "v100": "NoMatchingNodes",
        "any": "MixedGPUs",
    }


def test_a_pool_of_several_gpus_is_reported_while_the_others_are_tuned() -> None:
    """The message lists each kind of GPU with its Nodes, and the study has the best of the other pool meanwhile."""

    async def play() -> Stage:
        pools = [{"name": "any", "nodeSelector": {"pool": "mixed"}}, {"name": "a100", "gpuProduct": "A100"}]
        stage = Stage(nodePools=pools, searchSpace=ONE_CELL)
        for name, product in (("m1", "Tesla-V100-SXM2-32GB"), ("m2", "NVIDIA-H100-80GB-HBM3")):
            stage.cluster.create("nodes", gpu_node(name, product=product, extra_labels={"pool": "mixed"}))
        operator = await stage.operator()
        await operator.settle()
        stage.nodes.start(stage.run)
        stage.nodes.finish(stage.run)
        await operator.settle()
        return stage

    stage = asyncio.run(play())
    pools = {pool["name"]: pool for pool in stage.status["pools"]}
    mixed = pools["any"]
    assert (mixed["reason"], pools["a100"].get("reason")) == ("MixedGPUs", None)
    assert all(part in mixed["message"] for part in ("Tesla-V100-SXM2-32GB", "NVIDIA-H100-80GB-HBM3", "on 1 node"))
    assert stage.status["best"]["pool"] == "a100"


def test_a_pass_that_fails_for_a_defect_is_not_hidden() -> None:
    """Only what the API server or the journal did is a hindrance; anything else is raised as it is."""

    async def break_down(request: Request, carry_out: CarryOut) -> Answer:
        if request.said == "GET configmaps":
            raise RuntimeError("a defect")
        return await carry_out()

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator(interference=break_down)
        with pytest.raises(RuntimeError):
            await operator.reconcile()
        return stage

    assert asyncio.run(play()).status == {}
    assert not issubclass(RuntimeError, InfPopError)


def test_a_mistake_in_an_ended_study_keeps_what_was_found() -> None:
    """The problem is reported, its best and its trials stay, and nothing is measured again after the correction."""

    async def play() -> tuple[Mapping[str, object], Mapping[str, object], Stage]:
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator()
        await stage.finish(operator)
        before = stage.status
        stage.cluster.change(model={"name": "./weights"})
        await operator.settle()
        wrong = stage.status
        assert stage.condition("Accepted") == ("False", "InvalidSpec")
        stage.cluster.change(model={"name": "example/model"})
        await operator.settle()
        return before, wrong, stage

    before, wrong, stage = asyncio.run(play())
    assert (wrong["best"], wrong["trials"]) == (before["best"], before["trials"])
    assert (stage.status["best"], len(stage.runs)) == (before["best"], 1)
    assert stage.condition("Ready") == ("True", "Succeeded")


class Prometheus:
    """A Prometheus that knows nothing, and may be down."""

    name = "Prometheus"

    def __init__(self, outage: str | None) -> None:
        self.outage = outage
        self.asked_extra = 0

    async def probe(self) -> None:
        """Find nothing new."""

    async def samples(self, watched: WatchedRun) -> Mapping[int, Sample]:
        """Return that there is no answer for any trial."""
        return dict.fromkeys(watched.trials, Missing(reason="PrometheusUnreachable"))

    async def extra_metrics(self, *_: object) -> Mapping[int, Mapping[str, float | Missing]]:
        """Return nothing."""
        self.asked_extra += 1
        return {}


def test_a_prometheus_that_does_not_answer_is_reported() -> None:
    """A condition reports it while runs continue, and an Event the runs without its number; results count."""

    async def play() -> tuple[Stage, list[object], Operator]:
        prometheus = Prometheus("no answer since 12:00")
        stage = Stage(searchSpace=ONE_CELL)
        operator = await stage.operator(prometheus=prometheus)
        await operator.settle()
        told: list[object] = [stage.condition("PrometheusUnreachable")]
        prometheus.outage = None
        await stage.finish(operator)
        assert prometheus.asked_extra == 0  # the study has none
        return stage, [*told, stage.condition("PrometheusUnreachable")], operator

    stage, told, operator = asyncio.run(play())
    assert [each[0] for each in told if isinstance(each, tuple)] == ["True", "False"]
    assert stage.events().count("MetricsMissing") == 1
    assert stage.row()[:2] == ("Measured", None)
    missing = {"source": "Prometheus", "reason": "PrometheusUnreachable"}
    assert operator.metrics.registry.get_sample_value("infpop_source_missing_total", missing) == 1.0


def test_a_namespace_that_is_being_deleted_is_left_alone() -> None:
    """Its study is no longer worked on; nothing is retried, and no reason is written."""
    message = (
        'jobs.batch "x" is forbidden: unable to create new content in namespace serving because it is being terminated'
    )

    async def play() -> tuple[Stage, list[str], float | None]:
        stage = Stage(searchSpace={"gpuCount": [2], "batchSize": [8, 64]}, budget={"parallelTrials": 1})
        operator = await stage.operator()
        await stage.work(operator)
        stage.nodes.finish(stage.run)
        operator.wire.interference = refusing(403, "Forbidden", message, said="POST jobs")
        before, requests = stage.status, len(operator.wire.requests)
        assert operator.reconciler.unfinished() == (KEY,)
        wait = await operator.reconcile()
        assert operator.reconciler.unfinished() == ()
        assert stage.status == before
        return stage, operator.said(requests), wait

    stage, requests, wait = asyncio.run(play())
    assert wait is None
    assert "PUT throughputstudies/status" not in requests
    assert len(stage.runs) == 1


def test_a_hindrance_that_cannot_be_reported_is_raised_unchanged() -> None:
    """The failure to write the status does not replace the reason why the study cannot continue."""

    async def refuse(request: Request, carry_out: CarryOut) -> Answer:
        match request.said:
            case "POST configmaps":
                return refusal(403, "Forbidden", QUOTA)
            case "PUT throughputstudies/status":
                return refusal(500, "InternalError", "etcd")
        return await carry_out()

    async def play() -> None:
        operator = await Stage(searchSpace=ONE_CELL).operator(interference=refuse)
        with pytest.raises(KubeQuotaError):
            await operator.reconcile()

    asyncio.run(play())


def test_a_spec_that_is_none_is_invalid() -> None:
    """The API server refuses it where the schema is in force: the operator reports it all the same."""

    async def play() -> Stage:
        stage = Stage()
        stage.cluster.patch("throughputstudies", STUDY, {"spec": "none"})
        await (await stage.operator()).settle()
        return stage

    stage = asyncio.run(play())
    assert stage.condition("Accepted") == ("False", "InvalidSpec")
    assert stage.condition("Suspended") == ("False", "NotSuspended")
