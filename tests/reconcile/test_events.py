"""What is told of a study, and what is no news."""

from infpop_operator.api.status_model import PoolStatus, StudyStatus, TrialRow
from infpop_operator.cluster.events import transitions


def measured(index: int) -> TrialRow:
    """Return the row of a trial that has ended."""
    return TrialRow(
        pool="a100",
        round=1,
        index=index,
        gpu_count=1,
        batch_size=8,
        state="Measured",
        throughput="12.5",
        attempts=1,
        run=f"study-{index}",
    )


def test_a_trial_is_told_when_it_has_ended() -> None:
    """Once: its row says the same from then on."""
    before, after = (StudyStatus(trials=[measured(index) for index in range(count)]) for count in (1, 2))
    (told,) = transitions(before, after)
    assert (told.reason, told.message.split(":")[0]) == ("TrialMeasured", "trial 1 of pool a100")
    assert transitions(after, after) == ()


def test_a_status_that_could_not_be_read_tells_no_trial_again() -> None:
    """After an upgrade hundreds of studies would tell hundreds of trials each; their rounds are told once more."""
    pool = PoolStatus(name="a100", round=1)
    after = StudyStatus(pools=[pool], trials=[measured(index) for index in range(500)])
    assert [told.reason for told in transitions(None, after)] == ["RoundStarted"]
