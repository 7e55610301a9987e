"""The report as one HTML file that needs nothing else: no network, no other file.

The data is in one script element as JSON; scripts of ours draw what the reader looks at. A Content-Security-Policy
allows exactly the scripts of the page, by their hash, and no connection to anywhere.
"""

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files

from infpop_operator.report.html.comparison_json import pairs_to_json, relations_to_json, retunings_to_json
from infpop_operator.report.html.landscape_json import STATE_LETTERS, Json, all_to_json
from infpop_operator.report.html.sections import render_sections, summary
from infpop_operator.report.html.study_json import courses_to_json
from infpop_operator.report.marks import BARRED, MARKS, REUSED
from infpop_operator.report.report_content import ReportContent

GENERATOR = "InfPop"
_SCRIPTS = ("page.js", "landscapes.js", "curves.js", "comparisons.js")
# JSON may stand in a script element if no text of it can end that element, or start a comment in it.
_IN_SCRIPT: dict[str, str | int | None] = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def render_html(content: ReportContent, plotly: str) -> str:
    """Return the page.

    Args:
        content: what it shows.
        plotly: the script of plotly.js.
    """
    script = "\n".join(_file(name) for name in _SCRIPTS)
    sections, links = render_sections(content)
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in _notes(content))
    title = escape(content.title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{GENERATOR} {escape(content.version)}">
<title>{title}</title>
<style>{_file("report.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header class="page"><div class="top"><h1>{title}</h1><div id="theme"></div></div>
<p class="lead">{escape(summary(content))}</p>
<p class="facts">{escape(_origin(content))}</p>
{notes}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main"><noscript><p class="warning">Pictures need JavaScript; the tables do not.</p></noscript>
{sections}</main>
<footer><p>tokens/s are generated tokens per second: in full the median of the repeats, adaptively an estimate with a
95 % interval, confirmed the mean of fresh loads. The files beside this page have all numbers: tables/*.csv and
statistics.json.</p></footer>
<script type="application/json" id="data">{in_script(_data(content))}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def in_script(value: Json) -> str:
    """Return JSON that is safe inside a script element, whatever texts are in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.translate(str.maketrans(_IN_SCRIPT))


def _data(content: ReportContent) -> Json:
    return {
        **all_to_json(content.landscapes),
        "marks": {STATE_LETTERS[state]: mark for state, mark in MARKS.items()},
        "batchSize": content.batch_size,
        "reused": REUSED,
        "barred": BARRED,
        "hardware": pairs_to_json(content.hardware),
        "engines": pairs_to_json(content.engines),
        "retune": retunings_to_json(content.of_question("retune")),
        "relations": relations_to_json(content.grids, content.parameters, content.scores),
        "studies": courses_to_json(content.courses),
    }


def _notes(content: ReportContent) -> list[str]:
    progress = [
        f"{source}: the study is in progress; this is what it has found so far." for source in content.table.in_progress
    ]
    simulated = ["Numbers marked as simulated are replayed, not measured."] if _is_simulated(content) else []
    return [*progress, *simulated, *content.table.notes]


def _is_simulated(content: ReportContent) -> bool:
    return any(each.first.simulated for each in content.landscapes)


def _origin(content: ReportContent) -> str:
    sources = list(dict.fromkeys(row.source for row in content.table.trials))
    more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""  # noqa: PLR2004 - fits on a line
    named = f"{', '.join(sources[:3])}{more}" if sources else "no trial at all"
    return f"Made on {content.made_at:%Y-%m-%d %H:%M} UTC by InfPop {content.version} from {named}."


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
