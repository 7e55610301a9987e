"""Draw the pictures of the README and of docs/search.md, and write its tables from `results/`.

    python benchmarks/draw_search.py LANDSCAPES.csv

The picture of one search replays it on one of the landscapes; everything else is read from `results/search.json`,
`landscape-lomo.json` and `confidence.json`. Needs matplotlib (`infpop[report]`).
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench_search import render_table
from infpop_operator.core.study import Configuration
from infpop_operator.replay.costs import CostModel
from infpop_operator.replay.grids import Grid, read_grids
from infpop_operator.replay.subjects import memory_mib_of_name
from infpop_operator.replay.world import replay, replayed_study

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LEFT_OUT = RESULTS / "landscape-lomo.json"
DOCS = HERE.parent / "docs"
SHOWN = {
    "landscape": ("landscape", "#1b6ca8", 2.4),
    "tpe": ("tpe", "#d1495b", 1.6),
    "random": ("random", "#8d99ae", 1.4),
    "grid": ("grid", "#bfa5d8", 1.4),
    "infpop-paper": ("the paper's search", "#edae49", 1.6),
}
BARS = {
    "tpe": "Hyperopt TPE",
    "optuna-gp": "Optuna GP",
    "optuna-tpe": "Optuna TPE",
    "random": "random",
    "grid": "grid",
    "infpop-paper": "the paper's search",
}
ENGINES = (("vllm", "vLLM"), ("hf", "Hugging Face pipelines"))
PRIORS = {
    "left-out": "learned from the other models",
    "other-engine": "that of the other engine",
    "mirrored": "turned upside down",
    "nothing-known": "none, only smoothness",
    "tpe": "`tpe`, to compare with",
}
TRIALS = 25
WALK = ("A100", "hf", "Gemma-2b")  # several trials, two of them out of memory: a search without luck
MISSING = "#eceff3"
STEPS = 8


def main() -> None:
    """Write the pictures and the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("landscapes", type=Path, help="CSV of measured cells")
    arguments = parser.parse_args()
    mpl.rcParams.update({"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "infpop"})
    searches = json.loads((RESULTS / "search.json").read_text())["searches"]
    draw_curves(searches, DOCS / "search-curves.svg")
    grids = read_grids(arguments.landscapes)
    draw_walk(
        next(grid for grid in grids if (grid.gpu_model, grid.engine, grid.model) == WALK), DOCS / "search-walk.svg"
    )
    page = DOCS / "search.md"
    tables = {"search": render_table(searches).strip()}
    confidence = RESULTS / "confidence.json"
    if confidence.exists():
        tables["confidence"] = confidence_table(json.loads(confidence.read_text()))
    if LEFT_OUT.exists():
        left_out = json.loads(LEFT_OUT.read_text())
        tables["left-out"] = left_out_table(left_out)
        draw_bars(searches, left_out["left-out"], DOCS / "search-trials.svg")
    page.write_text(with_tables(page.read_text(), tables))


def draw_curves(searches: Mapping[str, Any], path: Path) -> None:
    """Draw the mean share of the optimum after each trial, a panel for each engine."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.1), sharey=True, layout="constrained")
    for panel, (engine, title) in zip(panels, ENGINES, strict=True):
        for name, (label, color, width) in SHOWN.items():
            if name in searches:
                curve = searches[name]["summary"][engine]["best_so_far"][:TRIALS]
                panel.plot(
                    range(1, len(curve) + 1), [100 * share for share in curve], color=color, lw=width, label=label
                )
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("trials")
        panel.set_xlim(1, TRIALS)
        panel.set_ylim(40, 101)
        panel.grid(color="#e3e7ec", lw=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("best so far, % of the optimum")
    panels[1].legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_bars(searches: Mapping[str, Any], left_out: Mapping[str, Any], path: Path) -> None:
    """Draw the mean trials to within 1 % of the optimum, of `landscape` on models that its prior has not seen."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True, layout="constrained")
    labels = ["InfPop", *BARS.values()]
    for panel, (engine, title) in zip(panels, ENGINES, strict=True):
        ours = left_out["summary"][engine]["trials_to_99"]["mean"]
        others = [searches[name]["summary"][engine]["trials_to_99"]["mean"] for name in BARS]
        low, high = left_out["bootstrap_over_models"][engine]["trials_to_99"]
        bars = panel.barh(labels, [ours, *others], color=["#1b6ca8", *["#b4bcc8"] * len(others)], height=0.68)
        panel.bar_label(bars, fmt="%.1f", padding=3)
        bars.patches[0].axes.texts[0].set_text(f"{ours:.1f}  (95 % interval {low:.1f} to {high:.1f})")
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("trials to within 1 % of the optimum, mean")
        panel.set_xlim(0, 28)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].invert_yaxis()
    _save(figure, path)


def draw_walk(grid: Grid, path: Path) -> None:
    """Draw one landscape with the order in which a search measured its configurations."""
    study = replayed_study(grid, "landscape", seed=0, gpu_memory_mib=memory_mib_of_name(grid.gpu_model))
    walk = [step.configuration for step, _ in zip(replay(study, grid, costs=CostModel()), range(STEPS), strict=False)]
    optimum = max(grid.rates.values())
    end = next((number for number, cell in enumerate(walk, start=1) if grid.rates.get(cell) == optimum), len(walk))
    gpus, batches = grid.space.gpu_counts, grid.space.batch_sizes
    figure, panel = plt.subplots(figsize=(8, 2.9), layout="constrained")
    shades = mpl.colormaps["YlGnBu"].copy()
    shades.set_bad(MISSING)
    share = [[grid.rates.get(_cell(count, size), float("nan")) / optimum for size in batches] for count in gpus]
    image = panel.imshow(share, aspect="auto", cmap=shades, vmin=0, vmax=1.25, origin="lower")
    places = [(batches.index(cell.batch_size), gpus.index(cell.gpu_count)) for cell in walk[:end]]
    panel.plot(*zip(*places, strict=True), color="#d1495b", lw=1.4, alpha=0.9)
    for number, (column, row) in enumerate(places, start=1):
        works = walk[number - 1] in grid.rates
        panel.scatter(column, row, s=230, color="#d1495b" if works else "#ffffff", edgecolor="#d1495b", zorder=3)
        panel.text(column, row, str(number), ha="center", va="center", zorder=4, color="white" if works else "#d1495b")
    best = grid.optimum
    if best is not None:
        panel.text(
            batches.index(best.batch_size) + 0.32, gpus.index(best.gpu_count) + 0.28, "★", ha="center", va="center"
        )
    panel.set_xticks(range(len(batches)), [str(size) for size in batches])
    panel.set_yticks(range(len(gpus)), [str(count) for count in gpus])
    panel.set_xlabel("batch size")
    panel.set_ylabel("GPUs")
    panel.set_title(f"{grid.model} on {grid.gpu_model}, pipelines", fontsize=10, loc="left")
    bar = figure.colorbar(
        image, ax=panel, pad=0.01, boundaries=[number / 50 for number in range(51)], ticks=[0, 0.5, 1]
    )
    bar.set_label("share of the optimum")
    _save(figure, path)


def confidence_table(content: Mapping[str, Any]) -> str:
    """Return what stopping at each level gives, as Markdown."""
    lines = [
        "| stop at | " + " | ".join(f"{engine}, {kind}: right | trials" for kind, engine in _columns(content)) + " |"
    ]
    lines.append("|---" * (1 + 2 * len(_columns(content))) + "|")
    first = content[_columns(content)[0][0]][_columns(content)[0][1]]["stops"]
    for number, stop in enumerate(first):
        cells = [content[kind][engine]["stops"][number] for kind, engine in _columns(content)]
        texts = [f"{100 * cell['right']:.0f} % | {cell['trials']:.1f}" for cell in cells]
        lines.append(f"| {stop['level']:g} | {' | '.join(texts)} |")
    return "\n".join(lines)


def left_out_table(content: Mapping[str, Any]) -> str:
    """Return the searches of models that the prior has not seen, as Markdown."""
    lines = ["| prior | engine | mean | 95 % interval | median | p90 | cost | worst |", "|---" * 8 + "|"]
    for name, case in content.items():
        for engine in ("vllm", "hf"):
            found, trials = case["summary"][engine], case["summary"][engine]["trials_to_99"]
            low, high = case["bootstrap_over_models"][engine]["trials_to_99"]
            ratio = found["cost_ratio_to_paper"]
            texts = (PRIORS.get(name, name), engine, f"{trials['mean']:.1f}", f"{low:.1f} to {high:.1f}")
            costs = (f"{ratio['geometric_mean']:.3f}", f"{ratio['worst']:.2f}")
            lines.append(f"| {' | '.join((*texts, _number(trials['median']), _number(trials['p90']), *costs))} |")
    return "\n".join(lines)


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return a page with the text between the marks of each table replaced."""
    for name, table in tables.items():
        pattern = rf"(<!-- table {name} -->\n).*?(<!-- end -->)"
        page = re.sub(pattern, lambda found, text=table: f"{found[1]}\n{text}\n\n{found[2]}", page, flags=re.DOTALL)
    return page


def _columns(content: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    kinds = [kind for kind in ("cold", "warm") if kind in content]
    return [(kind, engine) for kind in kinds for engine in ("vllm", "hf") if engine in content[kind]]


def _number(value: float) -> str:
    return f"{value:g}"


def _cell(gpu_count: int, batch_size: int) -> Configuration:
    return Configuration(gpu_count=gpu_count, batch_size=batch_size)


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib publishes few types
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
