"""One answer to one question: a line of `statistics.json`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Literal

from infpop_operator.analysis.statistics.procedures import Outcome

Question = Literal["gpu-scaling", "batch", "hardware", "engine", "retune", "relation"]
ALL = "all"  # the model of a statistic over all models


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A test, or a summary, of one comparison. What does not apply, or is not known, is None; no number is NaN.

    Attributes:
        question: which question it answers.
        test: how, for example "anova"; `docs/statistics.md` describes each.
        engine: the engine whose numbers are compared; None: the engines are compared, they are in `groups`.
        gpu_model: the GPU model; None: GPU models are compared, they are in `groups`.
        model: the model, or "all".
        groups: what is compared, the first side first: GPU counts, batch sizes, GPU models, engines, quantities.
        gpu_count: the GPU count that is held fixed, or that was found to be the best.
        batch_size: the batch size that is held fixed, or that was found to be the best.
        workload: prompts, lengths and device, if the results have several kinds, or say that they are simulated.
        n: how many samples it rests on: models, pairs of cells, or cells.
        statistic: of the test: F, q, W, delta, r, rho; of a summary its number, in the unit that `sentence` says.
        p_value: two-sided, of this test alone.
        p_corrected: corrected for several tests at once (Holm; of Tukey's test by the test itself).
        effect: size of the effect; each test has its own measure.
        interval: 95 % interval of the effect.
        mean: of the samples, in the unit that `sentence` says.
        median: as `mean`.
        sentence: what it says in plain words.
        note: why there is no number, or what the reader must know.
    """

    question: Question
    test: str
    engine: str | None = None
    gpu_model: str | None = None
    model: str = ALL
    groups: tuple[str, ...] = ()
    gpu_count: int | None = None
    batch_size: int | None = None
    workload: str | None = None
    n: int = 0
    statistic: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    mean: float | None = None
    median: float | None = None
    sentence: str = ""
    note: str | None = None

    def __post_init__(self) -> None:
        numbers = (self.statistic, self.p_value, self.p_corrected, self.effect, self.mean, self.median)
        for number in (*numbers, *(self.interval or ())):
            if number is not None and not isfinite(number):
                raise ValueError(f"{self.question}, {self.test}: {number} is no number; give None and a note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What the statistics of one comparison have in common: fields of `Statistic`, of the same meaning.

    Besides them `device`: what a GPU count counts, "GPU" or "CPU rank", for the sentences.
    """

    question: Question
    engine: str | None = None
    gpu_model: str | None = None
    gpu_count: int | None = None
    batch_size: int | None = None
    workload: str | None = None
    device: str = "GPU"

    @property
    def groups(self) -> tuple[str, ...]:
        """What is compared, unless a statistic says otherwise."""
        return ()

    def statistic(self, **values: object) -> Statistic:
        """Return a statistic of this topic; `values` are its other fields, or differ from the topic's."""
        own = {
            "question": self.question,
            "engine": self.engine,
            "gpu_model": self.gpu_model,
            "groups": self.groups,
            "gpu_count": self.gpu_count,
            "batch_size": self.batch_size,
            "workload": self.workload,
        }
        return Statistic(**(own | values))  # type: ignore[arg-type]

    def tested(self, outcome: Outcome, **values: object) -> Statistic:
        """Return a statistic with the numbers of a test, and its note unless `values` have another."""
        found = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
        return self.statistic(**(found | values))


def to_document(statistics: Iterable[Statistic]) -> list[dict[str, object]]:
    """Return the statistics as the JSON values of `statistics.json`."""
    return [asdict(each) for each in statistics]
