"""Rounds of training, their networks, and what was suggested by them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from frugalseg.errors import InputError, Problem
from frugalseg.project.lock import project_lock
from frugalseg.project.queries import unknown_image, window_columns, window_of
from frugalseg.project.records import Member, NewWindow, ProjectImage, Reason, Round, Suggested
from frugalseg.project.schema import ImageRow, MemberRow, RoundRow, SuggestionRow
from frugalseg.project.store import Store
from frugalseg.project.windows import insert_windows, write_windows


def begin_round(store: Store, settings: Mapping[str, Any], labelled: Sequence[ProjectImage]) -> Round:
    """Open the next round, numbered from 0, trained on these images' current annotations."""
    bare = [image.name for image in labelled if image.annotation is None]
    if bare:
        raise InputError.of(Problem(name, "has no annotation to train on") for name in bare)
    versions = {image.name: image.annotation.version for image in labelled if image.annotation is not None}
    with store.write() as session:
        last = session.scalar(select(func.max(RoundRow.number)))
        row = RoundRow(
            number=0 if last is None else last + 1,
            status="training",
            settings=_plain(settings),
            labelled=versions,
            metrics={},
            created_at=datetime.now(UTC),
        )
        session.add(row)
        session.flush()
        return _record(row, ())


def add_member(store: Store, number: int, index: int, folder: str, seed: int) -> Member:
    """Note a network of a round; noted again, its folder and seed are replaced."""
    with store.write() as session:
        _round_row(session, number)
        query = select(MemberRow).where(MemberRow.round == number, MemberRow.index == index)
        row = session.scalar(query) or MemberRow(round=number, index=index)
        row.folder, row.seed = folder, seed
        session.add(row)
        return Member(number, index, folder, seed)


def finish_round(store: Store, number: int, metrics: Mapping[str, Any]) -> Round:
    """Say that a round is trained, and how well."""
    with store.write() as session:
        row = _round_row(session, number)
        if row.status != "training":
            raise InputError(f"round {number}", f"is {row.status} already")
        row.status, row.metrics, row.finished_at = "trained", _plain(metrics), datetime.now(UTC)
        session.flush()
        return _record(row, _members(session, number))


def abandon_round(store: Store, number: int) -> Round:
    """Give up a round that is not trained; its number is not used again."""
    with store.write() as session:
        row = _round_row(session, number)
        if row.status == "trained":
            raise InputError(f"round {number}", "is trained already")
        row.status, row.finished_at = "abandoned", datetime.now(UTC)
        session.flush()
        return _record(row, _members(session, number))


def rounds(store: Store) -> tuple[Round, ...]:
    """All rounds, the oldest first."""
    with store.read() as session:
        rows = session.scalars(select(RoundRow).order_by(RoundRow.number)).all()
        return tuple(_record(row, _members(session, row.number)) for row in rows)


def newest_round(store: Store, *, trained: bool) -> Round | None:
    """The newest round, or the newest trained one; None if there is none."""
    query = select(RoundRow).order_by(RoundRow.number.desc()).limit(1)
    with store.read() as session:
        row = session.scalar(query.where(RoundRow.status == "trained") if trained else query)
        return None if row is None else _record(row, _members(session, row.number))


def _round_row(session: Session, number: int) -> RoundRow:
    row = session.get(RoundRow, number)
    if row is None:
        raise InputError(f"round {number}", "is not in this project")
    return row


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document as it will come back from the database; what JSON cannot hold, as NaN, is a `ValueError`."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(document), allow_nan=False))
    return plain


def _members(session: Session, number: int) -> tuple[Member, ...]:
    rows = session.scalars(select(MemberRow).where(MemberRow.round == number).order_by(MemberRow.index))
    return tuple(Member(row.round, row.index, row.folder, row.seed) for row in rows)


def _record(row: RoundRow, members: tuple[Member, ...]) -> Round:
    return Round(
        number=row.number,
        status=cast(Literal["training", "trained", "abandoned"], row.status),
        settings=row.settings,
        labelled=row.labelled,
        metrics=row.metrics,
        created_at=row.created_at,
        finished_at=row.finished_at,
        members=members,
    )


def add_suggestions(
    store: Store,
    reasons: Sequence[Reason],
    *,
    strategy: str,
    settings: Mapping[str, Any],
    number: int | None,
    windows: Sequence[NewWindow] = (),
) -> tuple[Suggested, ...]:
    """Store a list of suggestions, in order of rank, under the next ask's number; an empty list stores nothing.

    `windows` of slides become images in the same transaction; a kill before it leaves files that no row names.
    """
    plain = _plain(settings)
    with contextlib.ExitStack() as stack:
        if windows:
            stack.enter_context(project_lock(store.folder))
        written = write_windows(store, windows)
        session = stack.enter_context(store.write())
        insert_windows(session, written)
        if number is not None:
            _round_row(session, number)
        ids = {row.name: row.id for row in session.scalars(select(ImageRow))}
        unknown = [reason.image for reason in reasons if reason.image not in ids]
        if unknown:
            raise InputError.of(problem for name in unknown for problem in unknown_image(name, [*ids]).problems)
        ask = 1 + (session.scalar(select(func.max(SuggestionRow.ask))) or 0)
        now = datetime.now(UTC)
        stored = []
        for rank, reason in enumerate(reasons, 1):
            columns = asdict(reason)
            window, image = columns.pop("window"), columns.pop("image")
            session.add(
                SuggestionRow(
                    round=number,
                    ask=ask,
                    rank=rank,
                    image_id=ids[image],
                    **window_columns(window),
                    strategy=strategy,
                    settings=plain,
                    **{**columns, "nearest": list(reason.nearest)},
                    created_at=now,
                )
            )
            stored.append(Suggested(ask, rank, number, reason, strategy, plain, now))
        return tuple(stored)


def suggestions(store: Store, ask: int | None) -> tuple[Suggested, ...]:
    """The suggestions of an ask, by rank; None takes the newest. Empty where there are none."""
    with store.read() as session:
        number = session.scalar(select(func.max(SuggestionRow.ask))) if ask is None else ask
        rows = session.execute(
            select(SuggestionRow, ImageRow.name)
            .join(ImageRow, ImageRow.id == SuggestionRow.image_id)
            .where(SuggestionRow.ask == number)
            .order_by(SuggestionRow.rank)
        )
        return tuple(_suggested(row, name) for row, name in rows)


def _suggested(row: SuggestionRow, name: str) -> Suggested:
    reason = Reason(
        image=name,
        window=window_of(row.x, row.y, row.w, row.h),
        uncertainty=row.uncertainty,
        uncertainty_rank=row.uncertainty_rank,
        represents=row.represents,
        similarity=row.similarity,
        nearest=tuple(row.nearest),
    )
    return Suggested(row.ask, row.rank, row.round, reason, row.strategy, row.settings, row.created_at)
