"""The picture of a study that fits a screen: what there is no room for is counted, not cut off unsaid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from infpop_operator.report.landscape_table import LEAST_LINES, LandscapeTable, render_legend
from infpop_operator.report.picture import Failure, Picture, PoolPicture
from infpop_operator.report.picture_parts import header, line, notice, run
from infpop_operator.report.words import count

_Parts = Sequence[RenderableType]


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePicture:
    """A study at one instant, on a screen of `height` lines; None: as long as it needs.

    The most important lines come first: what is wrong, how far the search is, the best, why trials failed, the live
    runs, the landscapes.
    """

    picture: Picture
    height: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        ruler = _Ruler(console=console, options=options)
        top = (*header(self.picture, "ellipsis"), *_failures(self.picture.failures))
        runs = [tuple(run(each, "ellipsis")) for each in self.picture.runs]
        pools = [_Pool.of(pool, ruler) for pool in self.picture.pools]
        yield from top
        if self.height is None:
            yield from (part for parts in runs for part in parts)
            yield from (part for pool in pools for part in pool.parts(None))
            return
        free = self.height - ruler.lines(top)
        shown = list(_runs(runs, ruler, free, wanted_below=sum(pool.least for pool in pools)))
        yield from shown
        yield from _pools(pools, free - ruler.lines(shown))


def _failures(failures: Sequence[Failure]) -> Iterator[RenderableType]:
    """Yield the newest cause for which trials have no number, what to do, and the newest log; count the others."""
    for failure in failures[-1:]:
        trials = count(len(failure.trials), "trial")
        others = f", and {count(len(failures) - 1, 'other cause')}" if len(failures) > 1 else ""
        cause = ": ".join(part for part in (failure.reason, failure.detail) if part)
        # Without a remedy of its own, the end of the cause says what to do.
        yield line(f"{trials} without a number{others}: {cause}", "magenta", "ellipsis" if failure.remedy else "fold")
        if failure.remedy:
            yield line(f"  What to do: {failure.remedy}", "", "ellipsis")
        log = next((trial.log for trial in reversed(failure.trials) if trial.log), "")
        if log:
            yield line(f"  log: {log}", "", "fold")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruler:
    """Measures how many lines something takes on this terminal."""

    console: Console
    options: ConsoleOptions

    def lines(self, parts: _Parts) -> int:
        return sum(len(self.console.render_lines(part, self.options, pad=False)) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """A pool's texts around its table, and how many lines the texts, the table and its legend take."""

    above: _Parts
    table: LandscapeTable | None
    below: _Parts
    texts: int
    wanted: int
    legend: int

    @classmethod
    def of(cls, pool: PoolPicture, ruler: _Ruler) -> "_Pool":
        above, below = tuple(_above(pool)), tuple(_below(pool))
        table = None if pool.landscape is None else LandscapeTable(landscape=pool.landscape, device=pool.device)
        texts = ruler.lines((*above, *below))
        return cls(
            above=above,
            table=table,
            below=below,
            texts=texts,
            wanted=0 if table is None else ruler.lines((table,)),
            legend=0 if table is None else ruler.lines((render_legend(table.landscape),)),
        )

    @property
    def least(self) -> int:
        """The lines without which the pool is not shown."""
        return self.texts + min(self.wanted, LEAST_LINES)

    def parts(self, most_lines: int | None, *, with_legend: bool = False) -> Iterator[RenderableType]:
        yield from self.above
        if self.table is not None:
            yield LandscapeTable(landscape=self.table.landscape, device=self.table.device, most_lines=most_lines)
            if with_legend:
                yield render_legend(self.table.landscape)
        yield from self.below


def _above(pool: PoolPicture) -> Iterator[RenderableType]:
    yield line(pool.title, "bold underline", "ellipsis")
    for each in (*([pool.notice] if pool.notice is not None else []), *pool.rounds):
        yield from notice(each)


def _below(pool: PoolPicture) -> Iterator[RenderableType]:
    for each in pool.set_aside:
        yield from notice(each)
    if pool.note:
        yield Text(pool.note, style="dim")


def _runs(runs: Sequence[_Parts], ruler: _Ruler, free: int, *, wanted_below: int) -> Iterator[RenderableType]:
    """Yield the runs that there is room for beside the pools, at least a third of the screen; count the others."""
    room = max(free - wanted_below, free // 3)
    for shown, parts in enumerate(runs):
        needed = ruler.lines(parts)
        is_last = shown == len(runs) - 1
        if needed + (0 if is_last else 1) > room:
            yield line(f"{count(len(runs) - shown, 'more run')} not shown", "cyan", "ellipsis")
            return
        room -= needed
        yield from parts


def _pools(pools: Sequence[_Pool], free: int) -> Iterator[RenderableType]:
    """Yield the pools that there is room for, each with about the same share of the lines; count the others.

    If all of it fits with legends, so that every mark is explained, the legends are there as well.
    """
    shown: list[_Pool] = []
    room = free
    for pool in pools:
        is_last = len(shown) == len(pools) - 1
        if pool.least + (0 if is_last else 1) > room:
            break
        room -= pool.least
        shown.append(pool)
    left_out = len(pools) - len(shown)
    heights = _shares([pool.wanted for pool in shown], free - sum(pool.texts for pool in shown) - min(1, left_out))
    has_legends = not left_out and sum(pool.texts + pool.wanted + pool.legend for pool in shown) <= free
    for pool, height in zip(shown, heights, strict=True):
        yield from pool.parts(height, with_legend=has_legends)
    if left_out and free > 0:
        yield line(f"{count(left_out, 'more pool')} not shown: the screen has too few lines", "dim", "ellipsis")


def _shares(wanted: Sequence[int], lines: int) -> list[int]:
    """Return how many of the lines each gets: none more than it wants, and what one does not want the others get."""
    shares = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda position: wanted[position])
    for done, position in enumerate(order):
        shares[position] = min(wanted[position], lines // (len(order) - done))
        lines -= shares[position]
    return shares
