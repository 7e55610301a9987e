"""Draw the figures that compare: GPU counts, batch sizes, GPU models, engines and alternatives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from infpop_operator.analysis.paired_cells import PairedCells
from infpop_operator.analysis.result_landscapes import ResultLandscape
from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.tradeoffs import Alternative
from infpop_operator.report.figures.style import (
    COLOURS,
    MOST_SERIES,
    clip,
    drawing,
    save,
    series,
    set_title,
    write_out_ticks,
)

_MOST_BOXES = 40
_LABEL = 28  # characters


def save_gpu_scaling(landscapes: Sequence[ResultLandscape], batch_size: int, path: Path, *, title: str) -> None:
    """Draw throughput over the GPU count at one batch size: a line for each of the fastest `MOST_SERIES` models."""
    lines = {each.first.model: across(each, batch_size) for each in landscapes}
    fastest = sorted((name for name in lines if lines[name]), key=lambda name: -max(lines[name].values()))
    counts = sorted({count for name in fastest for count in lines[name]})
    with drawing(6.4, 3.8) as figure:
        axes = figure.add_subplot()
        for place, name in enumerate(fastest[:MOST_SERIES]):
            points = sorted(lines[name].items())
            axes.plot(
                [counts.index(count) for count, _ in points],
                [value for _, value in points],
                label=clip(name, _LABEL),
                **series(place),
            )
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set(xlabel=f"{landscapes[0].first.device}s", ylabel="tokens/s")
        axes.set_ylim(bottom=0)
        set_title(axes, title)
        _legend_beside(axes)
        save(figure, path)


def save_batch_curves(landscape: ResultLandscape, path: Path, *, title: str) -> None:
    """Draw throughput over the batch size, a line for each GPU count; a cross ends a line where larger cannot work."""
    step = -(-len(landscape.gpu_counts) // MOST_SERIES)
    with drawing(6.4, 3.8) as figure:
        axes = figure.add_subplot()
        for place, count in enumerate(landscape.gpu_counts[::step]):
            points = _down(landscape, count)
            if points:
                devices = f"{count} {landscape.first.device}{'' if count == 1 else 's'}"
                axes.plot(list(points), list(points.values()), label=devices, **series(place))
        axes.set_xscale("log", base=2)
        shown = landscape.batch_sizes[:: -(-len(landscape.batch_sizes) // 12)]
        axes.set_xticks(shown, [str(batch) for batch in shown])
        axes.minorticks_off()
        axes.set(xlabel="batch size", ylabel="tokens/s")
        axes.set_ylim(bottom=0)
        set_title(axes, title)
        _legend_beside(axes)
        save(figure, path)


def save_pairs(pairs: Sequence[PairedCells], path: Path, *, title: str) -> None:
    """Draw the ratios of paired cells as one box for each model: quartiles, median and extremes."""
    shown = sorted(pairs, key=lambda pair: pair.quantile(0.5))[-_MOST_BOXES:]
    with drawing(6.4, 1.1 + 0.3 * len(shown)) as figure:
        axes = figure.add_subplot()
        boxes = [
            {
                "label": clip(pair.model, _LABEL),
                "whislo": pair.ratios[0],
                "q1": pair.quantile(0.25),
                "med": pair.quantile(0.5),
                "q3": pair.quantile(0.75),
                "whishi": pair.ratios[-1],
                "fliers": [],
            }
            for pair in shown
        ]
        axes.bxp(
            boxes,
            orientation="horizontal",
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": "0.85"},
            medianprops={"color": COLOURS[0], "linewidth": 2},
        )
        axes.axvline(1, color="black", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        write_out_ticks(axes.xaxis, unit="×")  # noqa: RUF001 - a factor
        axes.set(xlabel=f"tokens/s of {clip(shown[0].second, _LABEL)} / tokens/s of {clip(shown[0].first, _LABEL)}")
        set_title(axes, title)
        save(figure, path)


def save_alternatives(rows: Sequence[TrialResultRow], front: Sequence[Alternative], path: Path, *, title: str) -> None:
    """Draw throughput over the speed of one sequence: all measured rows, and the front of those worth choosing from."""
    with drawing(6.4, 3.8) as figure:
        axes = figure.add_subplot()
        measured = [row for row in rows if row.throughput_tokens_per_second is not None]
        axes.plot(
            [_speed(row) for row in measured],
            [row.throughput_tokens_per_second or 0.0 for row in measured],
            "o",
            color="0.6",
            markerfacecolor="none",
            markersize=4,
            label="measured",
        )
        counts = sorted({each.row.gpu_count for each in front})
        for place, count in enumerate(counts[:MOST_SERIES]):
            those = [each for each in front if each.row.gpu_count == count]
            devices = f"{count} {those[0].row.device}{'' if count == 1 else 's'}"
            axes.plot(
                [each.speed for each in those],
                [each.row.throughput_tokens_per_second or 0.0 for each in those],
                label=devices,
                **series(place),
            )
        axes.set(xscale="log", yscale="log", xlabel="tokens/s per sequence", ylabel="tokens/s")
        write_out_ticks(axes.xaxis)
        write_out_ticks(axes.yaxis)
        set_title(axes, title)
        _legend_beside(axes)
        save(figure, path)


def across(landscape: ResultLandscape, batch_size: int) -> Mapping[int, float]:
    """Return the measured tokens/s at one batch size by GPU count."""
    found = {count: landscape.cells.get((batch_size, count)) for count in landscape.gpu_counts}
    return {
        count: number
        for count, row in found.items()
        if row is not None and (number := row.throughput_tokens_per_second) is not None
    }


def _down(landscape: ResultLandscape, gpu_count: int) -> Mapping[int, float]:
    found = {batch: landscape.cells.get((batch, gpu_count)) for batch in landscape.batch_sizes}
    return {
        batch: number
        for batch, row in found.items()
        if row is not None and (number := row.throughput_tokens_per_second) is not None
    }


def _speed(row: TrialResultRow) -> float:
    if row.seconds_per_output_token is not None:
        return 1 / row.seconds_per_output_token
    return row.tokens_per_second_per_sequence or 0.0


def _legend_beside(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
