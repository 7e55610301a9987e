"""Writing a report into a directory: what is ours, what is not, and what the files are called."""

import csv
import io
import json
from pathlib import Path

import pytest

from html_report.contents import HOSTILE, content, every_state, row, two_of_all
from infpop_operator.analysis.rows import ResultTable
from infpop_operator.core.errors import ReportError
from infpop_operator.report.figures.all_figures import plan_figures
from infpop_operator.report.report_files import LIST, ReportDirectory, file_names
from infpop_operator.report.report_tables import render_alternatives


def write(directory: Path, *names: str, force: bool = False) -> None:
    """Write a report of these files."""
    report = ReportDirectory(directory, names, force=force)
    for name in names:
        report.write(name, name)
    report.finish()


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    """Its files are replaced, those that it no longer has are removed, and what the user put there stays."""
    write(tmp_path / "r", "index.html", "figures/a.png")
    (tmp_path / "r" / "notes.txt").write_text("mine")
    (tmp_path / "r" / "figures" / "own.png").write_text("mine")
    write(tmp_path / "r", "index.html", "figures/b.png")
    left = {str(path.relative_to(tmp_path / "r")) for path in (tmp_path / "r").rglob("*") if path.is_file()}
    assert left == {LIST, "index.html", "figures/b.png", "figures/own.png", "notes.txt"}


def test_a_file_of_the_user_is_not_replaced(tmp_path: Path) -> None:
    """The message names the file and the remedy, nothing is written, and --force replaces it."""
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ReportError, match=r"index\.html: is a file that no report wrote.*--force"):
        write(tmp_path, "index.html", "figures/a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    write(tmp_path, "index.html", force=True)
    assert (tmp_path / "index.html").read_text() == "index.html"


def test_a_list_that_was_tampered_with_names_nothing_else(tmp_path: Path) -> None:
    """Only names that a report can have are taken for ours: no other file is removed."""
    (tmp_path / "r").mkdir()
    (tmp_path / "precious.txt").write_text("mine")
    names = ["../precious.txt", str(tmp_path / "precious.txt"), "tables/../../precious.txt", 3, "index.html"]
    (tmp_path / "r" / LIST).write_text(json.dumps({"files": names}))
    write(tmp_path / "r", "index.html")
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("content_of_list", ["", "[]", "{", '{"files": 3}'])
def test_a_damaged_list_protects_everything(tmp_path: Path, content_of_list: str) -> None:
    """Without a list no file is ours."""
    write(tmp_path, "index.html")
    (tmp_path / LIST).write_text(content_of_list)
    with pytest.raises(ReportError, match="no report wrote"):
        write(tmp_path, "index.html")


def test_a_report_that_ended_early_can_be_written_again(tmp_path: Path) -> None:
    """After a crash in the middle its files are still ours."""
    ReportDirectory(tmp_path, ["index.html", "figures/a.png"]).write("index.html", "half")
    write(tmp_path, "index.html", "figures/a.png")
    assert (tmp_path / "index.html").read_text() == "index.html"


def test_a_file_that_cannot_be_written_leaves_no_part(tmp_path: Path) -> None:
    """What was written of it is removed, or it would keep the disk full."""
    directory = ReportDirectory(tmp_path, ["index.html"])
    (tmp_path / "index.html").mkdir()  # so the last step fails, with the draft complete
    with pytest.raises(ReportError, match="cannot be written"):
        directory.write("index.html", "page")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]


def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    """Nothing is written through a link to another place."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReportError, match="is a link"):
        write(tmp_path / "r", "figures/a.png")


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    """The message names --output."""
    (tmp_path / "r").write_text("")
    with pytest.raises(ReportError, match=r"--output: .*is not a directory"):
        write(tmp_path / "r", "index.html")


def test_names_of_files_are_plain_and_different() -> None:
    """Names of models become letters, digits, dots and dashes, none twice, also where capitals do not count."""
    names = list(file_names([("landscape", name) for name in (*HOSTILE, "../../etc/passwd", "a", "A", "a", "")]))
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.replace("-", "").replace(".", "").replace("_", "").isalnum() for name in names)
    assert not [name for name in names if name.startswith((".", "-")) or ".." in name.split("/")]
    assert max(map(len, names)) < 90


def test_every_figure_of_a_report_is_drawn(tmp_path: Path) -> None:
    """Heat maps, batch sizes, alternatives, GPU scaling, hardware and engines, each in the format of its suffix."""
    planned = plan_figures(content(two_of_all()), 1)
    kinds = [figure.name.removeprefix("figures/").partition("-")[0] for figure in planned]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "landscape": 8, "batch": 8, "alternatives": 8, "gpu": 4, "hardware": 2, "engines": 2,
    }  # fmt: skip
    for figure in [*planned[:3], *planned[-5:]]:
        figure.draw(tmp_path / "figure.svg")
        drawn = (tmp_path / "figure.svg").read_text()
        assert drawn.startswith("<?xml")
        assert "mathdefault" not in drawn  # what a tick of matplotlib's own would show, where texts are no formulas


def test_a_figure_of_hostile_names_and_of_every_state_is_drawn(tmp_path: Path) -> None:
    """Names are no formulas and no markup, and a study with a single number has its figures without a warning."""
    table = every_state()
    trials = tuple(row(model=name, study=name, source=name) for name in HOSTILE)
    for figure in plan_figures(content(ResultTable(trials=(*table.trials, *trials), cells=table.cells)), 1)[::3]:
        figure.draw(tmp_path / "figure.png")


def test_alternatives_have_numbers_and_no_formulas() -> None:
    """A cell is a number or a text that no spreadsheet runs; each landscape has its ranks."""
    text = render_alternatives(content(ResultTable(trials=(row(model="=cmd()"), *two_of_all().trials))))
    found = list(csv.DictReader(io.StringIO(text)))
    assert (found[0]["model"], found[0]["rank"], found[0]["gpus_saved"]) == ("'=cmd()", "1", "0")
    assert float(found[0]["throughput_tokens_per_second"]) == 100.0
    assert [each["rank"] for each in found].count("1") == 9
