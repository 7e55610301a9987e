"""The page of a report in a real browser: every control works, and nothing fails or is fetched.

Debian's Chromium is driven without a window and without a GPU.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from html_report.contents import HOSTILE, every_state, grid, row, two_of_all
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.cli.report import write_report
from nodes.programs import install

pytestmark = pytest.mark.e2e

# Software rendering: machines of tests have no GPU, and the surfaces need WebGL.
_ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_DEADLINE_MS = 120_000
_SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Watched:
    """A page, with what its scripts complained of and what it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(_DEADLINE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> None:
        """Load a page from the disk and draw all of its pictures."""
        self.page.goto(path.as_uri())
        self.page.evaluate("PICTURES.forEach((picture) => picture.show())")

    def expect_quiet(self, path: Path) -> None:
        """Nothing failed, and only the page itself was read."""
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]


@pytest.fixture(scope="module")
def chromium() -> str:
    """The path of Chromium, which is installed if it is missing."""
    if shutil.which("chromium", path=_SEARCH_PATH) is None:
        install(["chromium"], whose="the tests of the report")
    found = shutil.which("chromium", path=_SEARCH_PATH)
    assert found is not None
    return found


@pytest.fixture
def watched(chromium: str) -> Iterator[Watched]:
    """A narrow dark page, so that the controls wrap and the theme of the system counts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield Watched(browser.new_page(viewport={"width": 420, "height": 800}, color_scheme="dark"))
        browser.close()


def test_every_control_works_and_nothing_is_fetched(watched: Watched, tmp_path: Path) -> None:
    """Each button is pressed, each choice made and each table opened: the pictures follow, without an error."""
    study = every_state()
    table = ResultTable(trials=(*two_of_all().trials, *study.trials), cells=study.cells)
    path = write_report(table, tmp_path / "report", scores={"a-1b": 1.0, "b-7b": 2.0}, has_figures=False)
    watched.open(path)
    page = watched.page
    for button in page.locator(".buttons button").all():
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
    for choice in page.locator("select:visible").all():
        for value in choice.locator("option").evaluate_all("options => options.map(option => option.value)"):
            if value in choice.locator("option").evaluate_all("options => options.map(option => option.value)"):
                choice.select_option(value)
    for summary in page.locator("details > summary").all():
        summary.click()
    assert page.locator("details.data[open] .table tbody tr").count() > 0
    assert page.locator(".chart .main-svg, .chart .gl-container").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") == 420  # nothing is wider than the screen
    watched.expect_quiet(path)


def test_the_heat_map_shows_the_numbers_of_the_chosen_metric(watched: Watched, tmp_path: Path) -> None:
    """100 tokens/s on 1 GPU and 200 on 2: per GPU both are 100, and the sentence names the metric."""
    path = write_report(ResultTable(trials=tuple(grid())), tmp_path / "report", has_figures=False)
    watched.open(path)
    page = watched.page
    assert "800 tokens/s" in page.locator("#heatmap .sentence").inner_text()
    page.get_by_role("button", name="tokens/s per GPU").first.click()
    assert "400 tokens/s per GPU" in page.locator("#heatmap .sentence").inner_text()
    assert "✗ tried, cannot work (1)" in page.locator("#heatmap .legend").inner_text()
    watched.expect_quiet(path)


def test_gpu_scaling_opens_where_there_is_something_to_see(watched: Watched, tmp_path: Path) -> None:
    """At batch size 1 only one GPU count has a number: lines are drawn at the smallest size at which two have one."""
    trials = tuple(each for each in grid() if (each.gpu_count, each.batch_size) != (1, 1))
    path = write_report(ResultTable(trials=trials), tmp_path / "report", has_figures=False)
    watched.open(path)
    assert "At batch size 4, 1 of 1 model is faster" in watched.page.locator("#scaling .sentence").inner_text()
    assert watched.page.locator("#scaling .scatterlayer .point").count() == 2
    watched.expect_quiet(path)


def test_the_best_of_a_large_heat_map_is_framed(watched: Watched, tmp_path: Path) -> None:
    """Neither a landscape without room for numbers, nor one that is drawn coarser, leaves its best without a frame."""
    for columns, rows, place in ((25, 20, [19, 11]), (250, 200, [99, 59])):
        best = (columns * 4 // 5, rows * 3 // 5)
        trials = tuple(
            row(
                gpu_count=gpus, batch_size=batch, throughput_tokens_per_second=900.0 if (gpus, batch) == best else 100.0
            )
            for gpus in range(1, columns + 1)
            for batch in range(1, rows + 1)
        )
        path = write_report(ResultTable(trials=trials), tmp_path / str(columns), has_figures=False)
        watched.open(path)
        frames = watched.page.evaluate("document.querySelector('#heatmap .js-plotly-plot').layout.shapes")
        assert {(each["x0"] + 0.5, each["y0"] + 0.5) for each in frames} == {tuple(place)}
        assert "□ best" in watched.page.locator("#heatmap .legend").inner_text()


def test_no_picture_can_be_uploaded(watched: Watched, tmp_path: Path) -> None:
    """The toolbar of a picture saves and resets it, and has no button that sends the numbers to a service."""
    path = write_report(ResultTable(trials=tuple(grid())), tmp_path / "report", has_figures=False)
    watched.open(path)
    titles = watched.page.locator(".modebar-btn").evaluate_all("all => all.map(button => button.dataset.title)")
    assert "Download plot as a PNG" in titles
    assert not [title for title in titles if "share" in title.lower() or "cloud" in title.lower()]
    assert watched.page.evaluate("document.querySelector('.js-plotly-plot')._context.plotlyServerURL") == ""


def test_names_in_pictures_are_text(watched: Watched, tmp_path: Path) -> None:
    """Titles, labels and legends show the characters of a name: no markup of plotly's own, no link, no script."""
    trials = tuple(replace(each, model=name, study=name, pool=name) for name in HOSTILE for each in grid())
    path = write_report(ResultTable(trials=trials), tmp_path / "report", has_figures=False)
    watched.open(path)
    page = watched.page
    assert page.locator(".chart a, .chart b, .chart img, .chart script, main script").count() == 0
    assert page.locator(".chart [style*='font-weight: bold'], .chart [style*='font-weight:bold']").count() == 0
    assert "<!-- comment -->" in (page.locator("#scaling .chart").text_content() or "")
    watched.expect_quiet(path)


def test_paper_is_white_and_has_every_picture(watched: Watched, tmp_path: Path) -> None:
    """Printed from a dark screen, the page has light colours, all pictures and no controls."""
    path = write_report(two_of_all(), tmp_path / "report", has_figures=False)
    watched.page.goto(path.as_uri())
    watched.page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    watched.page.emulate_media(media="print")
    assert not watched.page.locator(".controls").first.is_visible()
    watched.expect_quiet(path)
