"""A changed Pod template starts a new round where it may change numbers, and says why; elsewhere it keeps the round."""

from typing import Any

import pytest

from factories.kube_objects import make_node
from factories.resolved import make_resolved, resolve_study
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.core.decide import decide
from infpop_operator.core.model import History, Round

VARIABLE = {"name": "NCCL_ALGO", "value": "Ring"}


def engine(env: list[dict[str, Any]], **spec: object) -> dict[str, object]:
    """Return an engine with a Pod template that has these variables."""
    return {"name": "vllm", "podTemplate": {"spec": {"containers": [{"name": "runner", "env": env}], **spec}}}


def rounds_after(before: dict[str, object], after: dict[str, object]) -> tuple[Round, ...]:
    """Return the rounds of a study whose engine changes so after its first decision."""
    history = decide(make_resolved(engine=before).study, History(started_at=START), {}, START).history
    return decide(make_resolved(engine=after).study, history, {}, START).history.rounds


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        (engine([{"name": "NCCL_ALGO", "value": "Tree"}]), 'podTemplate.env.NCCL_ALGO "Ring" → "Tree"'),
        (engine([{"name": "NCCL_ALGO", "value": ""}]), 'podTemplate.env.NCCL_ALGO "Ring" → ""'),
        (engine([VARIABLE, {"name": "some_name", "value": "1"}]), 'podTemplate.env.some_name none → "1"'),
        (engine([VARIABLE], runtimeClassName="nvidia"), "podTemplate.runtimeClassName none → nvidia"),
        (engine([VARIABLE], hostIPC=True), "podTemplate.hostIPC none → true"),
    ],
)
def test_what_may_change_a_number_starts_a_round_that_says_so(after: dict[str, object], cause: str) -> None:
    """The user reads the field that changed, from what to what."""
    first, second = rounds_after(engine([VARIABLE]), after)
    assert first.identity != second.identity
    assert second.cause == (cause,)


def test_how_a_model_is_fetched_and_who_runs_the_pod_keeps_the_round() -> None:
    """A new proxy or service account is no reason to measure again."""
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    assert len(rounds_after(engine([VARIABLE]), engine([VARIABLE, proxy], serviceAccountName="runs"))) == 1


def test_a_study_without_a_template_measures_what_it_always_did() -> None:
    """An empty template, and one that only labels, are as none: results of an earlier version stay."""
    bare: dict[str, object] = {"name": "vllm"}
    labels: dict[str, object] = {**bare, "podTemplate": {"metadata": {"labels": {"team": "a"}}}}
    assert len(rounds_after(bare, {**bare, "podTemplate": {}})) == len(rounds_after(bare, labels)) == 1


def test_the_template_of_one_pool_belongs_to_that_pool() -> None:
    """The numbers of another pool stay comparable with those from before."""
    pools: list[dict[str, Any]] = [{"name": name, "gpuProduct": "A100"} for name in ("a", "b")]
    pools[1]["podTemplate"] = {"spec": {"runtimeClassName": "nvidia"}}
    body = make_study_document("study", "serving", engine=engine([VARIABLE]), nodePools=pools)
    body["metadata"] |= {"uid": "uid", "generation": 1}
    study = resolve_study(body, [make_node()], History(started_at=START)).study
    shared = ("env.NCCL_ALGO", '"Ring"')
    assert [pool.pod_template for pool in study.pools] == [(shared,), (("runtimeClassName", "nvidia"), shared)]


def test_many_variables_are_one_fact_of_a_round() -> None:
    """A journal stays small: what a round belongs to is told in one line then, which still shows each change."""
    many = [{"name": f"NCCL_{number}", "value": "1"} for number in range(30)]
    first, second = rounds_after(engine(many), engine([*many[:-1], {"name": "NCCL_29", "value": "2"}]))
    assert [name for name, _ in first.subject if name.startswith("podTemplate")] == ["podTemplate"]
    assert second.cause[0].startswith("podTemplate env.NCCL_0=")
