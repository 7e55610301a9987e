"""The page of one round, archived or newest: from the history in full, and from a status as far as it tells."""

from dataclasses import replace
from functools import cache

import pytest

from infpop_operator.api.archived_round import ArchivedRound, archived_round
from infpop_operator.api.study_object import StudyObject, parse_study_object
from infpop_operator.core.errors import ResultError
from infpop_operator.core.model import History
from infpop_operator.report.place import on_cluster
from infpop_operator.report.rendering import render_page
from infpop_operator.report.round_page import to_round_page
from report.played_studies import printed
from report.retuned_studies import DOCUMENT, retuned, retuned_history
from report.study_objects import NOW
from upgrade.old_data import history_of, study_body

FIRST = """\
serving/codellama: vllm, example/model
Round 1 of pool a100 began 2025-12-31 20:00 UTC: FirstRound
  archived: round 2 is the newest

Pool a100: Tesla-V100-SXM2-32GB, up to 8 GPUs
example/model with vllm on Tesla-V100-SXM2-32GB
Tokens/s by batch size (down) and number of GPUs (across)
batch         1         2         4         8
─────────────────────────────────────────────
    8       115       187       303       492
   64       264       429       696     1,131
  256  ✗ memory  ✗ memory     1,213   ★ 1,970
★ best
✗ memory  2x GpuOutOfMemory, tried, cannot work

Best of round 1
  Configuration  8 GPUs, batch size 256
  Pool           a100: Tesla-V100-SXM2-32GB
  Throughput     1,970 tokens/s (spread 0.0 % over 3 repeats)
  Per GPU        246 tokens/s
  Baseline       1 GPU, batch size 8: 115 tokens/s, improved by 1614.8 %
                 (throughput)
  Trials         12: 10 measured, 2 infeasible
"""


@cache
def found() -> tuple[StudyObject, History]:
    """Return a study whose pool got other GPUs, with its history; creating it takes two searches."""
    return parse_study_object(retuned()), retuned_history()


def text_of(archived: ArchivedRound) -> str:
    """Return what a terminal of 80 columns shows of a round."""
    page = to_round_page(archived, on_cluster("serving"), NOW)
    return "".join(f"{line.rstrip()}\n" for line in printed(render_page(page)).splitlines())


def test_an_archived_round_is_shown_as_it_was() -> None:
    """Its landscape, hardware, best, baseline and improvement are those of its own numbers, with arguments to serve."""
    study, history = found()
    text = text_of(archived_round(study, history, pool="a100", number=1))
    assert text.startswith(FIRST)
    assert "Ready to copy\nvllm serve example/model \\\n  --tensor-parallel-size=8" in text


def test_an_archived_round_keeps_its_model_and_engine() -> None:
    """A model that the study has only since a later round is neither shown over its numbers nor in what to copy."""
    study, history = found()
    now = replace(study, model="other/model", engine="hf-pipeline")
    text = text_of(archived_round(now, history, pool="a100", number=1))
    assert "serving/codellama: vllm, example/model\n" in text
    assert "\nexample/model with vllm on Tesla-V100-SXM2-32GB\n" in text
    assert "vllm serve example/model" in text
    assert "other/model" not in text


def test_the_newest_round_says_why_it_began() -> None:
    """Its cause is what changed from what to what; without a number the newest round of the pool is shown."""
    study, history = found()
    for number in (2, None):
        text = " ".join(text_of(archived_round(study, history, pool="a100", number=number)).split())
        assert "HardwareChanged GPU Tesla-V100-SXM2-32GB → NVIDIA-A100-SXM4-40GB; the newest round of its pool" in text
        assert "Best of round 2 Configuration 8 GPUs, batch size 256" in text
        assert "improved by 0.0 %" in text


def test_a_status_alone_tells_most_of_an_archived_round() -> None:
    """The same landscape, best and baseline; only the serving arguments and what no row has are missing."""
    study, _ = found()
    text = text_of(archived_round(study, None, pool=None, number=1))
    assert text.split("Best of round 1", 1)[0] == FIRST.split("Best of round 1", 1)[0].replace(", up to 8 GPUs", "")
    for line in FIRST.split("Best of round 1")[1].splitlines():
        assert line.replace(" over 3 repeats", "") in text
    assert "Ready to copy" not in text


def test_a_status_without_a_history_of_rounds_claims_nothing() -> None:
    """It has the trials of an old round, but neither its best nor what it cost; its journal has both."""
    study = parse_study_object(study_body("succeeded"))
    text = text_of(archived_round(study, None, pool="a100", number=1))
    assert "The best of round 1 is not known" in text
    assert "Spent" not in text
    whole = text_of(archived_round(study, history_of("succeeded"), pool="a100", number=1))
    assert "Best of round 1" in whole
    assert "Spent" in whole


def test_a_pool_that_left_the_study_still_has_its_landscape() -> None:
    """Its trials were measured, whatever the study lists now."""
    study, history = found()
    assert study.document is not None
    spec = study.document.spec
    gone = spec.model_copy(update={"node_pools": [spec.node_pools[0].model_copy(update={"name": "other"})]})
    changed = replace(study, document=study.document.model_copy(update={"spec": gone}))
    assert "1,970" in text_of(archived_round(changed, history, pool="a100", number=1))


@pytest.mark.parametrize(
    ("pool", "number", "message"),
    [
        ("h100", None, "--pool: h100: the study has no rounds of this pool. Choose one of: a100."),
        ("a100", 7, "--round: 7: there is no such round. Choose one of these pools and rounds: a100 1, a100 2."),
    ],
)
def test_a_round_that_does_not_exist_is_refused(pool: str, number: int | None, message: str) -> None:
    """The message names those that do."""
    with pytest.raises(ResultError) as caught:
        archived_round(*found(), pool=pool, number=number)
    assert str(caught.value) == message


def test_a_study_without_rounds_says_so() -> None:
    """Nothing was tried yet."""
    study = parse_study_object(DOCUMENT | {"status": {}})
    with pytest.raises(ResultError, match="--round: 1: the study has no rounds yet"):
        archived_round(study, None, pool=None, number=1)
