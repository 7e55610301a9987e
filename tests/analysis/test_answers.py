"""The answers to the questions on made-up results, against what a hand computes from the same cells."""

import json
from collections.abc import Iterable
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.made_rows import make_grid, make_row, make_table
from infpop_operator.analysis.parameter_counts import parameters_from_name
from infpop_operator.analysis.rows import ResultTable, RoundResultRow, TrialResultRow
from infpop_operator.analysis.statistics import Statistic, answer, to_document
from infpop_operator.core.landscape import CellState

MODELS = {"A-1b": 1.0, "B-2b": 2.0, "C-4b": 5.0}  # by what factor each is slower


def scaled(factors: dict[int, float], **changes: object) -> list[TrialResultRow]:
    """Return rows of three models at batch size 1, whose throughput goes with the GPU count by `factors`."""
    return [
        make_row(100 * factor / slower, gpu_count=gpus, model=model, **changes)
        for model, slower in MODELS.items()
        for gpus, factor in factors.items()
    ]


def only(found: Iterable[Statistic], **wanted: object) -> Statistic:
    """Return the one statistic with these fields."""
    (one,) = every(found, **wanted)
    return one


def every(found: Iterable[Statistic], **wanted: object) -> list[Statistic]:
    """Return the statistics with these fields."""
    return [each for each in found if all(getattr(each, name) == value for name, value in wanted.items())]


def test_gpu_scaling_takes_models_as_samples_at_one_batch_size() -> None:
    """F of the raw numbers by sums of squares; other batch sizes do not count."""
    rows = [*scaled({1: 1.0, 2: 1.5}), make_row(9999.0, model="A-1b", batch_size=8)]
    found = answer(make_table(rows))
    one, two = [100 / slower for slower in MODELS.values()], [150 / slower for slower in MODELS.values()]
    grand = mean([*one, *two])
    between = 3 * ((mean(one) - grand) ** 2 + (mean(two) - grand) ** 2)
    within = sum((v - mean(one)) ** 2 for v in one) + sum((v - mean(two)) ** 2 for v in two)
    anova = only(found, question="gpu-scaling", test="anova")
    assert (anova.engine, anova.gpu_model, anova.groups, anova.batch_size, anova.n) == (
        "vllm",
        "A100",
        ("1", "2"),
        1,
        6,
    )
    assert anova.statistic == pytest.approx(between / (within / 4))
    tukey = only(found, question="gpu-scaling", test="tukey")
    assert (tukey.groups, tukey.effect) == (("1", "2"), pytest.approx(mean(two) - mean(one)))


def test_models_as_blocks_show_what_the_spread_of_the_models_hides() -> None:
    """Each model gains about half from a second GPU: not shown over raw numbers, clear for each model by itself."""
    rows = [make_row(100 / s, model=m) for m, s in MODELS.items()]
    rows += [make_row((150 + s) / s, model=m, gpu_count=2) for m, s in MODELS.items()]
    found = answer(make_table(rows))
    assert (only(found, question="gpu-scaling", test="anova").p_value or 0) > 0.3
    assert (only(found, question="gpu-scaling", test="anova-blocked").p_value or 1) < 0.01


def test_the_knee_is_the_smallest_batch_size_with_nine_tenths_of_the_best() -> None:
    """And memory ends a row at the smallest larger batch size that ran out of memory, not at a raced-out one."""
    row: dict[tuple[int, int], float | None] = {
        (2, 1): None,
        (2, 2): 90.0,
        (2, 4): 100.0,
        (2, 8): 95.0,
        (2, 32): None,
        (2, 64): None,
    }
    raced = make_row(None, gpu_count=2, batch_size=16, state=CellState.RACED_OUT, reason="RacedOut")
    found = answer(make_table(make_grid(row), raced))
    best, knee, end = (
        only(found, question="batch", test=test, model="Tiny-1b") for test in ("best-batch", "knee", "memory-end")
    )
    assert (best.gpu_count, best.batch_size, best.statistic) == (2, 4, 100.0)
    assert (knee.batch_size, knee.effect) == (2, 0.9)
    assert end.batch_size == 32


def test_one_model_has_no_median() -> None:
    """A sentence about one model says so, and one about several says what it takes of them."""
    one, two = (
        " ".join(each.sentence for each in answer(make_table(*grids)) if each.question == "batch")
        for grids in (
            [make_grid({(1, 1): 10.0, (1, 8): 20.0})],
            [make_grid({(1, 1): 10.0, (1, 8): 20.0}, model=model) for model in MODELS],
        )
    )
    assert "the best batch size is 8 (1 model)." in one
    assert "the best batch size is 8 in the median of 3 models." in two


def test_hardware_pairs_the_same_cells() -> None:
    """Improvement from the slower to the faster GPU in each cell that both have; a cell of one GPU alone is counted."""
    old = {(1, 1): 10.0, (1, 2): 20.0, (2, 1): 40.0}
    new = {(1, 1): 15.0, (1, 2): 24.0, (2, 1): 44.0, (2, 2): 99.0}
    found = answer(make_table(make_grid(new), make_grid(old, gpu_model="V100", pool="v100")))
    gain = only(found, question="hardware", test="improvement", model="Tiny-1b")
    assert (gain.groups, gain.n) == (("V100", "A100"), 3)
    assert (gain.mean, gain.median) == (pytest.approx((50 + 20 + 10) / 3), pytest.approx(20))
    assert gain.note == "fewer than 6 cells; cells without a partner: 1 only on A100"
    assert only(found, question="hardware", test="wilcoxon", model="Tiny-1b").statistic is None


def test_the_sentences_about_cpus_count_cpu_ranks() -> None:
    """A result without a GPU has no GPUs in its answers: what is counted is what the trials used."""
    hf, vllm = (
        make_grid({(1, 1): rate, (2, 1): 3 * rate, (1, 8): 4 * rate}, engine=engine, device="CPU rank")
        for engine, rate in (("hf", 10.0), ("vllm", 20.0))
    )
    found = [each for each in answer(make_table(hf, vllm)) if each.question in {"batch", "engine"}]
    words = " ".join(part for each in found for part in (each.sentence, *each.groups))
    assert "2 CPU ranks" in words
    assert "1 GPU" not in words
    assert "2 GPUs" not in words


def test_the_sentences_about_other_cpus_count_cpu_ranks() -> None:
    """Tuning again on another CPU changes CPU ranks, not GPUs."""
    old, new = (
        make_grid({(1, 1): 10.0, (2, 1): rate}, gpu_model=cpu, device="CPU rank")
        for cpu, rate in (("EPYC", 30.0), ("Xeon", 5.0))
    )
    words = " ".join(each.sentence for each in answer(make_table(old, new)) if each.question == "retune")
    assert "2 CPU ranks" in words
    assert "GPU" not in words


def test_engines_are_compared_at_their_own_best_and_at_the_same_gpu_count() -> None:
    """Best of hf: 20 on 1 GPU. vLLM makes 60 on 1 GPU and 90 on 4: factors 4.5 and 3; at batch size 1, 2 on 1 GPU."""
    hf = make_grid({(1, 1): 10.0, (1, 8): 20.0, (4, 1): 5.0}, engine="hf")
    vllm = make_grid({(1, 1): 20.0, (1, 8): 60.0, (4, 1): 30.0, (4, 8): 90.0})
    found = answer(make_table(hf, vllm))
    best = only(found, test="factor-best", model="Tiny-1b", batch_size=None)
    assert (best.gpu_model, best.statistic) == ("A100", 4.5)
    assert best.groups == ("hf: 1 GPU, batch size 8", "vllm: 4 GPUs, batch size 8")
    assert only(found, test="factor-same-gpus", model="Tiny-1b", batch_size=None).statistic == 3.0
    assert only(found, test="factor-best", model="Tiny-1b", batch_size=1).statistic == 3.0
    assert only(found, test="factor-same-gpus", model="Tiny-1b", batch_size=1).statistic == 2.0
    at_one = only(found, question="engine", test="improvement", gpu_count=1, batch_size=1)
    assert (at_one.groups, at_one.mean) == (("hf", "vllm"), 100.0)
    on_one = only(found, question="engine", test="improvement", gpu_count=1, batch_size=None)
    assert (on_one.model, on_one.n, on_one.mean) == ("all", 2, 150.0)


def test_retuning_compares_the_kept_best_with_the_new_best() -> None:
    """On both ways; where the old best does not fit, the best old one that does is kept, as in the paper's program."""
    small = {(1, 1): 10.0, (1, 2): 12.0, (1, 4): None}
    large = {(1, 1): 20.0, (1, 2): 19.0, (1, 4): 40.0}
    found = answer(make_table(make_grid(small, gpu_model="V100"), make_grid(large)))
    for test in ("improvement", "improvement-old-best"):
        up = only(found, question="retune", test=test, model="Tiny-1b", groups=("V100", "A100"))
        assert (up.statistic, up.batch_size, up.note) == (pytest.approx(100 * (40 / 19 - 1)), 4, None)
    down = only(found, question="retune", test="improvement", model="Tiny-1b", groups=("A100", "V100"))
    assert down.statistic == pytest.approx(20.0)
    lost = "the old best has no number on V100: GpuOutOfMemory"
    assert down.note == f"{lost}; 1 GPU with batch size 1 is kept instead"
    total = only(found, question="retune", test="improvement", model="all", groups=("A100", "V100"))
    assert (total.n, total.mean, total.median, total.effect) == (1, down.statistic, down.statistic, 1.0)
    strict = only(found, question="retune", test="improvement-old-best", model="Tiny-1b", groups=("A100", "V100"))
    assert (strict.statistic, strict.note) == (None, lost)
    none = only(found, question="retune", test="improvement-old-best", model="all", groups=("A100", "V100"))
    assert (none.n, none.mean) == (0, None)
    assert "1 old best has no number there" in none.sentence


def test_real_rounds_count_as_retuning() -> None:
    """A later round with an improvement over its baseline is a sample; one without is none, nor is a pool's first."""
    values = {"source": "s", "study": "s", "pool": "p", "model": "m", "engine": "hf", "gpu_model": "A100"}
    rounds = [
        RoundResultRow(round=2, previous_gpu_model="V100", improvement_percent=gain, **values)  # type: ignore[arg-type]
        for gain in (4.0, 8.0, 30.0, None)
    ]
    first = RoundResultRow(round=1, improvement_percent=900.0, **values)  # type: ignore[arg-type]
    found = answer(ResultTable(trials=(), rounds=(first, *rounds)))
    assert len(every(found, question="retune")) == 4
    total = only(found, test="improvement-rounds", model="all")
    assert (total.groups, total.n, total.mean, total.median) == (("V100", "A100"), 3, 14.0, 8.0)
    assert "in the mean of 3 rounds" in total.sentence
    assert "0 rounds gain less than 1 %" in total.sentence


def test_relations_use_each_models_best() -> None:
    """Parameters from the engine before those of the name; scores by name, whatever its case or owner."""
    best = {"x/A-1b": 80.0, "x/B-2b": 40.0, "x/C-4b": 20.0, "x/D": 10.0}
    rows = [make_row(rate, model=model, parameters=8 * 10**9 if "D" in model else None) for model, rate in best.items()]
    rows.append(make_row(1.0, model="x/A-1b", batch_size=2))
    found = answer(make_table(rows), scores={"a-1B": 1.0, "y/b-2b": 2.0, "x/c-4b": 3.0, "x/D": 4.0})
    by_size = only(found, question="relation", test="pearson-log")
    assert (by_size.n, by_size.statistic) == (4, pytest.approx(-1))
    assert only(found, test="spearman", groups=("score", "best throughput")).statistic == pytest.approx(-1)


def test_what_has_no_number_is_in_no_comparison() -> None:
    """A raced-out bound, a failed cell, 0 tokens/s, and infinity are no numbers."""
    rows = [
        make_row(0.0, model="A-1b"),
        make_row(float("inf"), model="B-2b"),
        make_row(None, model="C-4b"),
        make_row(50.0, model="D-8b", state=CellState.RACED_OUT),
        make_row(50.0, model="E-8b", state=CellState.INVALID),
    ]
    assert all(each.n == 0 for each in answer(make_table(rows)))


def test_different_workloads_are_never_in_one_comparison() -> None:
    """One model on two GPU models under two workloads: refused with the reason, and no pair is formed."""
    cells = {(1, 2**i): 10.0 + i for i in range(8)}
    rows = (*make_grid(cells, workload="short"), *make_grid(cells, workload="long", gpu_model="V100"))
    found = answer(make_table(rows))
    refused = only(found, question="hardware")
    assert (refused.n, refused.statistic) == (0, None)
    assert refused.note == "not compared: workload: short against long"
    assert every(found, question="retune") == []
    mixed = answer(make_table(scaled({1: 1.0}, workload="short"), scaled({2: 2.0}, workload="long")))
    assert {each.groups for each in every(mixed, test="anova", question="gpu-scaling")} == {("1",), ("2",)}


def test_simulated_numbers_are_never_compared_with_measured_ones() -> None:
    """They look the same, and say nothing about each other."""
    rows = (make_row(10.0), make_row(20.0, engine="hf", simulated=True))
    found = answer(make_table(rows))
    assert {each.workload for each in every(found, question="batch", engine="hf")} == {
        "unknown workload, simulated, on GPUs"
    }
    refused = only(found, question="engine")
    assert refused.note == "not compared: numbers: simulated against measured"


def test_a_cell_has_one_number() -> None:
    """Of several rounds the newest, of several variants the fastest, of several studies the median."""
    rows = [
        make_row(99.0, round=1),
        make_row(30.0, round=2, extra={"a": 1}),
        make_row(20.0, round=2, extra={"a": 2}),
        make_row(50.0, source="second"),
        make_row(70.0, source="third"),
    ]
    best = only(answer(make_table(rows)), test="best-batch", model="Tiny-1b")
    assert best.statistic == median([30.0, 50.0, 70.0])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Bloom-1b7", 1.7e9),
        ("bigscience/bloom-7b1", 7.1e9),
        ("Starcoder2-7b", 7e9),
        ("codellama/CodeLlama-34b-hf", 34e9),
        ("Wizardcoder-15b-v1.0", 15e9),
        ("facebook/opt-125m", 125e6),
        ("stablelm-2-1_6b", 1.6e9),
        ("Qwen2.5-0.5B-Instruct", 0.5e9),
        ("Mixtral-8x7b", 56e9),
        ("Qwen2-57B-A14B", 57e9),
        ("Phi-1", None),
        ("Phi-1_5", None),
        ("Llama-4bit", None),
        ("7b/gpt2", None),
    ],
)
def test_a_name_may_say_the_number_of_parameters(name: str, count: float | None) -> None:
    """What it does not say is not guessed."""
    assert parameters_from_name(name) == (None if count is None else pytest.approx(count))


rows_of_anything = st.lists(
    st.builds(
        make_row,
        st.one_of(st.none(), st.sampled_from([0.0, 1.0, 1.0, 5.0, 1e-300, 1e300]), st.floats(allow_nan=True)),
        gpu_model=st.sampled_from(["A100", "V100", None]),
        engine=st.sampled_from(["hf", "vllm"]),
        model=st.sampled_from(["A-1b", "B-2b", "C-4b", "D-8b"]),
        gpu_count=st.sampled_from([1, 2]),
        batch_size=st.sampled_from([1, 2, 4]),
        workload=st.sampled_from([None, "w"]),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(rows_of_anything)
def test_every_table_is_answered_without_nan(rows: list[TrialResultRow]) -> None:
    """Whatever the numbers, each answer is finite or None with a note, p is in [0, 1] and correction only raises it."""
    for each in answer(make_table(rows), scores={"A-1b": 1.0, "B-2b": 2.0, "C-4b": 2.5, "D-8b": 7.0}):
        json.dumps(to_document([each]), allow_nan=False)
        assert each.sentence
        if each.test in {"anova", "wilcoxon", "pearson"} and each.statistic is None:
            assert each.note
        if each.p_value is not None:
            assert 0 <= each.p_value <= (each.p_corrected or 0) + 1e-12 <= 1 + 1e-9
