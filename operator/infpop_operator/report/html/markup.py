"""Small pieces of HTML. Every text goes through `escape`: names in studies are text, never markup."""

from collections.abc import Iterable, Sequence
from html import escape

from infpop_operator.report.words import number

Value = str | int | float | None


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph with a class."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Value]], label: str) -> str:
    """Return a table that scrolls by itself; numbers are right-aligned, the first column names the row."""
    rows = list(rows)
    numeric = [any(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{_class("number" if is_number else "")}>{escape(name)}</th>'
        for name, is_number in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """Return content that the reader opens."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def bullets(sentences: Iterable[str]) -> str:
    """Return a list of sentences, empty without any."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="findings">{items}</ul>' if items else ""


def picture(name: str, *, has_title: bool = False, has_numbers: bool = True) -> str:
    """Return the place in which the script draws a picture: its sentence, the picture, its legend and its numbers."""
    title = '<p class="title"></p><p class="facts"></p>' if has_title else ""
    numbers = '<details class="data"><summary>The numbers of this picture</summary><div class="table"></div></details>'
    return (
        f'<div class="picture" id="{escape(name)}">{title}<p class="sentence" aria-live="polite"></p>'
        f'<div class="chart"></div><ul class="legend"></ul>{numbers if has_numbers else ""}</div>'
    )


def controls(*names: str) -> str:
    """Return the places in which the script puts controls."""
    places = "".join(f'<div class="choice" id="{escape(name)}"></div>' for name in names)
    return f'<div class="controls">{places}</div>'


def _row(row: Sequence[Value]) -> str:
    first, *rest = row
    return f'<th scope="row">{escape(_text(first))}</th>' + "".join(_value(value) for value in rest)


def _value(value: Value) -> str:
    kind = "number" if isinstance(value, int | float) else ""
    return f"<td{_class(kind)}>{escape(_text(value))}</td>"


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
