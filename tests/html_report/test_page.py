"""The page of a report: what is in it, and that names in studies are only ever text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from html_report.contents import HOSTILE, content, every_state, grid, row, two_of_all
from infpop_operator.analysis.grids import arrange_grids
from infpop_operator.analysis.rows import ResultTable, RoundResultRow
from infpop_operator.analysis.statistics.answers import answer
from infpop_operator.core.landscape import CellState
from infpop_operator.report.html.comparison_json import relations_to_json
from infpop_operator.report.html.page import in_script, render_html

PLOTLY = "var Plotly = {};"


class Elements(HTMLParser):
    """The elements and the text of a page, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._scripts: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(  # noqa: D102 - of the base class
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag in {"script", "style"}
        if tag == "script":
            self._scripts.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: D102 - of the base class
        self._in_script = self._in_script and tag not in {"script", "style"}

    def handle_data(self, data: str) -> None:  # noqa: D102 - of the base class
        if not self._in_script:
            self.text += data
        elif self._scripts:
            self._scripts[-1] += data

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the page has
        """The data of the page."""
        return json.loads(self._scripts[0])

    @property
    def ids(self) -> set[str | None]:
        """The ids of all elements."""
        return {attributes.get("id") for _, attributes in self.tags}


def page_of(table: ResultTable, **changes: object) -> Elements:
    """Return the elements of the page of a report."""
    return Elements(render_html(content(table, **changes), PLOTLY))


def test_a_name_is_text_wherever_it_stands() -> None:
    """Models, engines, studies, reasons and sources that look like markup add no element and no attribute."""
    plain = page_of(ResultTable(trials=tuple(grid()), notes=("a note",)))
    for name in HOSTILE:
        trials = tuple(
            replace(each, model=name, engine=name, study=name, source=name, pool=name, gpu_model=name, detail=name)
            for each in grid()
        )
        hostile = page_of(ResultTable(trials=trials, notes=(name,), in_progress=(name,)), title=name)
        kinds = [(tag, sorted(attributes)) for tag, attributes in hostile.tags]
        assert [kind for kind in kinds if kind not in [(t, sorted(a)) for t, a in plain.tags]] == []
        assert sum(tag == "script" for tag, _ in hostile.tags) == 3
        assert hostile.data["landscapes"][0]["model"] == name
        assert name.strip()[:20] in hostile.text


def test_the_data_cannot_end_its_element() -> None:
    """Whatever texts are in it, the JSON has no character that HTML or JavaScript takes for something else."""
    text = in_script({"names": list(HOSTILE)})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"names": list(HOSTILE)}


def test_the_page_may_load_nothing() -> None:
    """Its policy allows its own scripts by their hash, and no address: it opens from a disk and asks no network."""
    page = page_of(two_of_all())
    policy = next(a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    assert not [a for _, a in page.tags if any(name in a for name in ("src", "srcset", "data", "action"))]
    assert all((a.get("href") or "#").startswith("#") for _, a in page.tags)


def test_every_section_with_data_has_a_picture_and_a_link() -> None:
    """Two models, engines and GPU models: everything but retuning and the course of a study can be answered."""
    page = page_of(two_of_all())
    pictures = {"heatmap", "surface", "scaling", "batch-curves", "hardware", "engines", "relations", "tradeoff"}
    assert pictures <= page.ids
    assert {"retune", "course"} & page.ids == set()
    assert "What these results cannot answer" in page.text
    assert "A recorded landscape says neither" not in page.text  # the sentence itself begins otherwise
    assert "a recorded landscape says neither when nor how it was measured" in page.text


@pytest.mark.parametrize("table", [ResultTable(trials=()), ResultTable(trials=(row(state=CellState.BROKEN),))])
def test_a_report_without_a_number_is_still_a_page(table: ResultTable) -> None:
    """An empty study, or one in which everything failed, says so."""
    page = page_of(table)
    assert "At least one measured configuration." in page.text
    assert "best" not in page.ids


def test_a_cell_has_its_state_number_and_reason() -> None:
    """The data of the heat map says for each state what the terminal says, with bounds, the best and untried cells."""
    land = page_of(every_state()).data["landscapes"][0]
    assert land["counts"] == [1, 2, 4, 8, 16, 32]
    assert land["batches"] == [1, 4]
    assert land["states"] == "mrxibo" + "u     "
    assert land["values"][:3] == [100, 50, None]
    assert (land["best"], land["recommended"]) == (0, True)
    assert sorted(land["why"]) == ["1", "2", "3", "4", "5"]


def test_variants_of_a_cell_are_counted() -> None:
    """Of two values of an extra parameter the faster one is shown, and the page says that there are two."""
    rows = (row(extra={"block": 16}), row(extra={"block": 32}, throughput_tokens_per_second=120.0), row(gpu_count=2))
    land = page_of(ResultTable(trials=rows)).data["landscapes"][0]
    assert (land["values"], land["variants"], land["extra"]) == ([120, 100], {"0": 2}, {"0": "block=32"})


def test_a_study_in_progress_and_notes_are_named_first() -> None:
    """The reader learns what is not final, and what could not be read, before any number."""
    page = page_of(ResultTable(trials=tuple(grid()), in_progress=("results.csv",), notes=("one file is damaged",)))
    assert page.text.index("is in progress") < page.text.index("Best configurations")
    assert "one file is damaged" in page.text


def test_a_load_is_counted_once_for_all_trials_that_share_it() -> None:
    """The time of an engine load stands at the first trial of its run."""
    rows = tuple(row(trial=place, batch_size=2**place, run="r", load_seconds=60.0, study="s") for place in range(3))
    assert page_of(ResultTable(trials=rows)).data["studies"][0]["load"] == [60, None, None]


def test_what_a_round_took_includes_runs_without_a_trial() -> None:
    """The loads that confirmed the best cost GPU-hours too: trials took 0.5, the round 0.75."""
    trial = row(run="r", study="s", gpu_seconds=1800.0)
    whole = RoundResultRow(
        source=trial.source, study="s", pool="A100", round=1, model="m-7b", engine="vllm", gpu_hours=0.75
    )
    for rounds, hours in (((), "0.5"), ((whole,), "0.75")):
        text = page_of(ResultTable(trials=(trial,), rounds=rounds)).text
        assert hours in text[text.index("What it took") : text.index("Where these numbers are from")]


def test_paired_cells_are_quartiles_of_ratios() -> None:
    """The GPU model that is 1.5 times as fast everywhere has 1.5 as its median, and stands second."""
    hardware = page_of(two_of_all()).data["hardware"]
    assert [(each["first"], each["second"], each["other"]) for each in hardware] == [
        ("V100", "A100", "hf"),
        ("V100", "A100", "vllm"),
    ]
    assert hardware[0]["models"][0] | {"model": ""} == {
        "model": "", "n": 5, "least": 1.5, "q1": 1.5, "median": 1.5, "q3": 1.5, "most": 1.5,
    }  # fmt: skip


def test_tests_without_enough_samples_are_counted_in_one_sentence() -> None:
    """One model alone is tested for nothing: the reader is told once, and the table has every test."""
    table = ResultTable(trials=tuple(grid()))
    page = page_of(table, statistics=answer(table))
    assert "tests had too few samples; the table says which." in page.text
    assert page.text.count("too few samples; the table") == 2  # GPU scaling and batch size


def test_gains_of_tuning_again_are_those_of_the_statistics() -> None:
    """Each change of the GPU model has the gain of each model, and the sentence of the summary over them."""
    table = two_of_all()
    page = page_of(table, statistics=answer(table))
    changes = {each["title"]: each for each in page.data["retune"]}
    assert sorted(changes) == [
        f"{engine}, from {old} to {new}, on recorded landscapes"
        for engine in ("hf", "vllm")
        for old, new in (("A100", "V100"), ("V100", "A100"))
    ]
    change = changes["vllm, from V100 to A100, on recorded landscapes"]
    assert [(bar["label"], bar["value"]) for bar in change["bars"]] == [("a-1b", 0), ("b-7b", 0)]
    assert "in the mean of 2 models" in change["sentence"]
    assert "retune" in page.ids


def test_a_score_is_found_by_the_last_part_of_a_name() -> None:
    """The picture of relations has the same scores as the statistics beside it."""
    (point,) = relations_to_json(arrange_grids([row(model="org/Tiny-7B")]), {}, {"tiny-7b": 0.5})
    assert point["score"] == 0.5


def test_the_best_of_a_model_is_the_same_in_pictures_tables_and_statistics() -> None:
    """The number that a study confirmed is the best of its model, not a faster one that was measured once."""
    one, other = (
        [
            row(engine=engine, batch_size=1, throughput_tokens_per_second=130.0 * speed),
            row(
                engine=engine, batch_size=4, throughput_tokens_per_second=100.0 * speed, is_best=True, confirmed_loads=2
            ),
        ]
        for engine, speed in (("hf", 1.0), ("vllm", 3.0))
    )
    table = ResultTable(trials=(*one, *other))
    page = page_of(table, statistics=answer(table))
    assert [point["best"] for point in page.data["relations"]] == [100, 300]
    (factor,) = (
        each for each in answer(table) if (each.test, each.model) == ("factor-best", "m-7b") and not each.batch_size
    )
    assert factor.groups == ("hf: 1 GPU, batch size 4", "vllm: 1 GPU, batch size 4")
    table_text = page.text[page.text.index("Each engine at its own best configuration") :]
    assert "m-7bA10014100143" in re.sub(r"\s", "", table_text)


def test_gpu_counts_are_drawn_where_two_of_them_have_a_number() -> None:
    """A landscape whose GPU counts share no batch size with numbers has no picture of them, but says what it lacks."""
    apart = (row(gpu_count=1, batch_size=1), row(gpu_count=2, batch_size=4))
    assert "scaling" not in page_of(ResultTable(trials=apart)).ids
    assert "scaling" in page_of(ResultTable(trials=(*apart, row(gpu_count=2, batch_size=1)))).ids


def test_a_page_refers_to_documents_and_headings_that_exist() -> None:
    """What a result lacks is named with the place that says how to get it."""
    text = page_of(ResultTable(trials=(row(),))).text
    found = re.findall(r"\((docs/\w+\.md), ([A-Z][a-z ]+)\)", text)
    assert found
    for document, heading in found:
        assert f"## {heading}\n" in (Path(__file__).parents[2] / document).read_text()
