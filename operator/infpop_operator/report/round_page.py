"""The page of one round: its landscape, why it began, its best, its baseline, and what it cost."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from infpop_operator.api.archived_round import ArchivedRound
from infpop_operator.api.landscapes import described_study
from infpop_operator.api.status_model import RoundRow
from infpop_operator.report.conclusion import SPENT, conclusion_of
from infpop_operator.report.picture import Notice
from infpop_operator.report.place import Place
from infpop_operator.report.shown_study import ShownStudy
from infpop_operator.report.status_page import Conclusion, Outcome, StatusPage
from infpop_operator.report.status_view import to_page
from infpop_operator.report.words import on_one_line


def to_round_page(archived: ArchivedRound, place: Place, now: datetime) -> StatusPage:
    """Return the page of a round, in the form of a study's page.

    Args:
        archived: the round.
        place: where the study is tuned.
        now: the current time, timezone-aware.
    """
    page = to_page(archived.study, place, now)
    pools = tuple(replace(pool, rounds=()) for pool in page.picture.pools)  # the notice says why it began
    picture = replace(page.picture, notices=(_notice(archived),), best=None, pools=pools)
    return replace(page, picture=picture, rounds=(), footer="", conclusion=_conclusion(archived, place, now))


def _notice(archived: ArchivedRound) -> Notice:
    row = archived.row or RoundRow(pool=archived.pool, round=archived.number)
    began = row.resumed_at or row.opened_at
    verb = "began" if row.resumed_at is None else "was resumed"
    return Notice(
        text=on_one_line(f"Round {archived.number} of pool {archived.pool}"),
        style="cyan",
        when="" if began is None else f"{verb} {began:%Y-%m-%d %H:%M} UTC",
        reason=row.reason or "",
        detail=on_one_line("; ".join(_facts(archived, row))),
    )


def _facts(archived: ArchivedRound, row: RoundRow) -> Iterator[str]:
    yield from row.cause or ()
    is_newest = archived.number == archived.newest
    yield "the newest round of its pool" if is_newest else f"archived: round {archived.newest} is the newest"


def _conclusion(archived: ArchivedRound, place: Place, now: datetime) -> Conclusion | None:
    study = archived.study
    described = None if study.document is None else described_study(study.document, study.status)
    shown = ShownStudy(object=study, place=place, now=now, study=described)
    found = conclusion_of(shown, Outcome.SUCCEEDED)
    if found is None:
        return None
    is_only = archived.number == archived.newest == 1
    if archived.row is None and not is_only:  # what the status sums up is about all rounds
        found = replace(found, facts=tuple(fact for fact in found.facts if fact[0] != SPENT))
    if study.status.best is not None:
        return replace(found, title=f"Best of round {archived.number}")
    is_unknown = archived.row is None and archived.number != archived.newest
    title = (
        f"The best of round {archived.number} is not known" if is_unknown else f"Round {archived.number} has no best"
    )
    return replace(found, title=title, style="bold yellow")
