"""The sections of the report: each answers a question, or says in one sentence what it would need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from statistics import median

from infpop_operator.analysis.comparable import Conditions, hardware_of
from infpop_operator.analysis.grids import Best
from infpop_operator.analysis.result_landscapes import ResultLandscape
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.statistics.relation import score_of
from infpop_operator.analysis.statistics.statistic import Statistic
from infpop_operator.core.landscape import CellState
from infpop_operator.report.html import markup
from infpop_operator.report.report_content import ReportContent
from infpop_operator.report.words import count, number

MOST_ROWS = 1000  # of a table in the page; files have all
_HEADLINES = 8
_PAIRWISE = {"tukey"}
_UNTESTED = "Not tested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section of the page. `needs` is the sentence in its place if `body` returns nothing."""

    name: str
    title: str
    question: str
    needs: str
    body: Callable[[ReportContent], str]


def render_sections(content: ReportContent) -> tuple[str, str]:
    """Return the sections that have something to show with what they lack, and the links to them."""
    shown = [(section, section.body(content)) for section in SECTIONS]
    sections = "".join(_section(section, body) for section, body in shown if body)
    lacking = "".join(
        f"<dt>{escape(section.title)}</dt><dd>{escape(section.needs)}</dd>" for section, body in shown if not body
    )
    links = [(section.name, section.title) for section, body in shown if body]
    if lacking:
        sections += (
            f'<section id="open"><h2>What these results cannot answer</h2><dl class="open">{lacking}</dl></section>'
        )
    items = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in links)
    return sections, items


def _section(section: Section, body: str) -> str:
    heading = f"<h2>{escape(section.title)}</h2>{markup.paragraph(section.question, 'question')}"
    return f'<section id="{section.name}">{heading}{body}</section>'


def _findings(statistics: Iterable[Statistic]) -> str:
    """Return the sentences over all models, and every test in a table that the reader opens."""
    statistics = tuple(statistics)
    if not statistics:
        return ""
    first = [each for each in statistics if each.model == "all" and each.test not in _PAIRWISE]
    told = [each.sentence for each in first or statistics if _is_told(each)]
    untested = sum(each.sentence.startswith(_UNTESTED) for each in statistics)
    few = [f"{untested:,} of {len(statistics):,} tests had too few samples; the table says which."] if untested else []
    sentences = [*told[:_HEADLINES], *few]
    heading = "<h3>What the statistics say</h3>"
    return heading + markup.bullets(sentences) + _all_tests(statistics)


def _is_told(statistic: Statistic) -> bool:
    return bool(statistic.sentence) and not statistic.sentence.startswith(_UNTESTED)


def _all_tests(statistics: tuple[Statistic, ...]) -> str:
    columns = ("test", "engine", "GPU model", "model", "groups", "n", "statistic", "p", "p corrected", "effect",
               "mean", "median", "in words")  # fmt: skip
    rows = [
        (
            each.test,
            each.engine,
            each.gpu_model,
            each.model,
            ", ".join(each.groups),
            each.n,
            each.statistic,
            each.p_value,
            each.p_corrected,
            each.effect,
            each.mean,
            each.median,
            " ".join(part for part in (each.sentence, each.note) if part),
        )
        for each in statistics[:MOST_ROWS]
    ]
    rest = "" if len(statistics) <= MOST_ROWS else f" (the first {MOST_ROWS}; all are in statistics.json)"
    table = markup.table(columns, rows, "All tests of this question")
    return markup.details(f"All {len(statistics):,} tests and summaries{rest}", table)


def _best(content: ReportContent) -> str:
    rows = [(each, best) for each in content.newest if (best := each.best) is not None]
    if not rows:
        return ""
    has_cost = any(best.cost_per_million_tokens is not None for _, best in rows)
    has_studies = len({best.source for _, best in rows}) > 1
    columns = ["model", "engine", "GPU model", *(["study", "source"] if has_studies else []), "devices", "batch size"]
    columns += ["tokens/s", "per device", *(["cost per million tokens"] if has_cost else []), "measured"]
    table = markup.table(
        columns,
        [_best_row(*row, has_cost=has_cost, has_studies=has_studies) for row in rows[:MOST_ROWS]],
        "Best configurations",
    )
    more = "" if len(rows) <= MOST_ROWS else markup.paragraph("All are in tables/best.csv.", "note")
    return table + more


def _best_row(
    landscape: ResultLandscape, best: TrialResultRow, *, has_cost: bool, has_studies: bool
) -> list[markup.Value]:
    measured = sum(row.state is CellState.MEASURED for row in landscape.cells.values())
    return [
        best.model,
        best.engine,
        hardware_of(best),
        *([best.study, best.source] if has_studies else []),
        best.gpu_count,
        best.batch_size,
        best.throughput_tokens_per_second,
        best.throughput_per_gpu,
        *([best.cost_per_million_tokens] if has_cost else []),
        f"{measured} of {len(landscape.cells)}",
    ]


def _landscapes(content: ReportContent) -> str:
    if not content.landscapes:
        return ""
    pictures = markup.picture("heatmap", has_title=True) + markup.picture("surface", has_numbers=False)
    note = _metric_notes(content)
    return f'{markup.controls("landscape-choice", "landscape-metric")}<div class="pictures">{pictures}</div>{note}'


def _metric_notes(content: ReportContent) -> str:
    rows = [each.first for each in content.landscapes]
    notes = []
    if any(row.state is CellState.MEASURED and row.seconds_per_output_token is None for row in content.table.trials):
        notes.append(
            "Seconds per output token are batch size / throughput where the time of the batches was not recorded. The "
            "first token's time is in them; waiting in a queue is not."
        )
    if all(row.price_per_gpu_hour is None for row in rows):
        notes.append("Cost needs the price of a GPU hour: --price, or pricePerGPUHour in the study.")
    if all(row.tokens_per_joule is None for row in content.table.trials):
        notes.append("Tokens per joule need a metric in watts in the study (docs/study.md, Extra metrics).")
    return "".join(markup.paragraph(note, "note") for note in notes)


def _scaling(content: ReportContent) -> str:
    if not any(_is_scaled(each) for each in content.newest):
        return ""
    findings = _findings(content.of_question("gpu-scaling"))
    return markup.controls("scaling-choice", "scaling-metric") + markup.picture("scaling") + findings


def _is_scaled(landscape: ResultLandscape) -> bool:
    """Return whether two GPU counts have a number at the same batch size."""
    rows = landscape.cells.values()
    batch_sizes = [row.batch_size for row in rows if row.throughput_tokens_per_second is not None]
    return len(batch_sizes) > len(set(batch_sizes))


def _batch(content: ReportContent) -> str:
    if not any(len(each.batch_sizes) > 1 for each in content.landscapes):
        return ""
    findings = _findings(content.of_question("batch"))
    return markup.controls("batch-choice", "batch-metric") + markup.picture("batch-curves") + findings


def _hardware(content: ReportContent) -> str:
    if not content.hardware:
        return ""
    return markup.controls("hardware-choice") + markup.picture("hardware") + _findings(content.of_question("hardware"))


def _engines(content: ReportContent) -> str:
    if not content.engines:
        return ""
    pictures = markup.controls("engines-choice") + markup.picture("engines")
    return pictures + _own_bests(content) + _findings(content.of_question("engine"))


def _own_bests(content: ReportContent) -> str:
    """Return the bests of every model on each engine side by side."""
    sides: dict[tuple[str, str, Conditions], dict[str, Best]] = {}
    for grid in content.grids:
        if grid.best is not None:
            sides.setdefault((grid.model, grid.hardware, grid.conditions), {})[grid.engine] = grid.best
    engines = sorted({engine for side in sides.values() for engine in side})
    rows = [
        [model, hardware, *(value for engine in engines for value in _own_best(side.get(engine)))]
        for (model, hardware, _), side in sorted(sides.items())
        if len(side) > 1
    ]
    columns = [
        "model",
        "GPU model",
        *(f"{engine}: {of}" for engine in engines for of in ("devices", "batch", "tokens/s")),
    ]
    table = markup.table(columns, rows[:MOST_ROWS], "The best configuration of each engine")
    return "<h3>Each engine at its own best configuration</h3>" + table


def _own_best(best: Best | None) -> list[markup.Value]:
    return [None, None, None] if best is None else [*best.place, best.rate]


def _retune(content: ReportContent) -> str:
    findings = _findings(content.of_question("retune"))
    if not any(each.statistic is not None for each in content.of_question("retune")):
        return findings
    return markup.controls("retune-choice") + markup.picture("retune") + findings


def _relations(content: ReportContent) -> str:
    models = {each.first.model for each in content.newest if each.best is not None}
    if sum(model in content.parameters or score_of(model, content.scores) is not None for model in models) < 2:  # noqa: PLR2004 - a relation
        return ""
    findings = _findings(content.of_question("relation"))
    return markup.controls("relations-choice", "relations-metric") + markup.picture("relations") + findings


def _tradeoff(content: ReportContent) -> str:
    if not any(each.best is not None for each in content.landscapes):
        return ""
    note = (
        "Seconds per output token are those of a sequence in its batch, with all prompts queued: the time of the first "
        "token is in them, waiting for a place in the batch is not. The numbers of this picture rank the alternatives."
    )
    return markup.controls("tradeoff-choice") + markup.picture("tradeoff") + markup.paragraph(note, "note")


def _course(content: ReportContent) -> str:
    if not content.courses:
        return ""
    pictures = markup.controls("course-choice") + markup.picture("course") + markup.picture("time")
    return pictures + _spent(content) + _provenance(content)


def _spent(content: ReportContent) -> str:
    columns = ("study", "pool", "round", "trials", "with a number", "GPU-hours", "median spread in %")
    of_rounds = {(each.study, each.source, each.pool, each.round): each.gpu_hours for each in content.table.rounds}
    return "<h3>What it took</h3>" + markup.table(
        columns,
        [_spent_row(*key[::2], key[3], rows, of_rounds.get(key)) for key, rows in content.courses.items()][:MOST_ROWS],
        "What it took",
    )


def _spent_row(
    study: str, pool: str, round_: int, rows: list[TrialResultRow], gpu_hours: float | None
) -> list[markup.Value]:
    """Return a row; the hours of a round include runs that have no trial of their own, such as confirming loads."""
    seconds = [row.gpu_seconds for row in rows if row.gpu_seconds is not None]
    spreads = [row.spread_ratio for row in rows if row.spread_ratio is not None]
    measured = sum(row.state is CellState.MEASURED for row in rows)
    hours = gpu_hours if gpu_hours is not None or not seconds else sum(seconds) / 3600
    return [study, pool, str(round_), len(rows), measured, hours, 100 * median(spreads) if spreads else None]


def _provenance(content: ReportContent) -> str:
    columns = ("study", "source", "pool", "round", "model", "engine", "engine version", "software", "GPU model",
               "driver", "workload", "first and last trial")  # fmt: skip
    rows = []
    for (study, source, pool, round_), trials in content.courses.items():
        row = next((each for each in trials if each.software or each.engine_version), trials[0])
        times = sorted(time for each in trials for time in (each.started_at, each.ended_at) if time is not None)
        span = f"{times[0]:%Y-%m-%d %H:%M} to {times[-1]:%Y-%m-%d %H:%M} UTC" if times else ""
        rows.append((study, source, pool, str(round_), row.model, row.engine, row.engine_version, row.software,
                     row.gpu_model, row.gpu_driver, row.workload, span))  # fmt: skip
    return markup.details("Where these numbers are from", markup.table(columns, rows[:MOST_ROWS], "Provenance"))


def summary(content: ReportContent) -> str:
    """Return the sentence at the top of the page."""
    trials = content.table.trials
    things = {
        "model": {row.model for row in trials},
        "engine": {row.engine for row in trials},
        "GPU model": {hardware_of(row) for row in trials},
    }
    counted = ", ".join(count(len(names), word) for word, names in things.items())
    return (
        f"{len(trials):,} trials, {content.measured:,} of them measured: {counted}. "
        + ("" if not content.newest else _fastest(content))
    ).strip()


def _fastest(content: ReportContent) -> str:
    bests = [best for each in content.newest if (best := each.best) is not None]
    if not bests:
        return "None of them has a number."
    top = max(bests, key=lambda row: row.throughput_tokens_per_second or 0.0)
    devices = count(top.gpu_count, top.device)
    return (
        f"Fastest: {top.model} with {top.engine} on {devices} ({hardware_of(top)}), batch size "
        f"{top.batch_size}: {number(top.throughput_tokens_per_second or 0.0)} tokens/s."
    )


SECTIONS = (
    Section(
        name="best",
        title="Best configurations",
        question="Which GPU count and batch size should each model be served with?",
        needs="At least one measured configuration.",
        body=_best,
    ),
    Section(
        name="landscapes",
        title="Landscapes",
        question="How does throughput depend on the number of GPUs and the batch size?",
        needs="At least one trial.",
        body=_landscapes,
    ),
    Section(
        name="gpu-scaling",
        title="GPU scaling",
        question="What do more GPUs bring at one batch size?",
        needs="Numbers of at least two GPU counts at the same batch size.",
        body=_scaling,
    ),
    Section(
        name="batch-size",
        title="Batch size",
        question="How far does a larger batch help, and where does memory end it?",
        needs="Configurations with at least two batch sizes.",
        body=_batch,
    ),
    Section(
        name="hardware-section",
        title="Hardware",
        question="How much faster is one GPU model than the other at the same configuration?",
        needs="The same model, engine and workload measured on two GPU models, at the same configurations.",
        body=_hardware,
    ),
    Section(
        name="engines-section",
        title="Engines",
        question="How much faster is one engine than the other at the same configuration?",
        needs="The same model, GPU model and workload measured with two engines, at the same configurations.",
        body=_engines,
    ),
    Section(
        name="retuning",
        title="Tuning again",
        question="What did tuning again gain over keeping the old configuration?",
        needs="A round that measured the configuration in use before it: a study whose GPUs, engine or model changed.",
        body=_retune,
    ),
    Section(
        name="relations-section",
        title="Relations",
        question="How does the best throughput depend on the size of a model, and on its quality?",
        needs="At least two models whose number of parameters is known, or a score of each (--scores FILE.csv).",
        body=_relations,
    ),
    Section(
        name="speed",
        title="Speed against throughput",
        question="What does a faster answer for each user cost in throughput?",
        needs="At least one measured configuration.",
        body=_tradeoff,
    ),
    Section(
        name="study",
        title="The course of the study",
        question="What did each trial find, and where did the time go?",
        needs="A study of infpop tune or of a cluster; a recorded landscape says neither when nor how it was measured.",
        body=_course,
    ),
)
