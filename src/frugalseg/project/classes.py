"""Names of the object classes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from frugalseg.errors import InputError
from frugalseg.project.schema import AnnotationRow, DraftRow, ProjectRow, RoundRow
from frugalseg.project.store import Store


def check_classes(names: Sequence[str]) -> list[str]:
    """The names without blanks around them; none, one without a letter, or one twice is an `InputError`.

    So is one that ends in ``*``: QuPath takes objects of such a class for none.
    """
    stripped = [name.strip() for name in names]
    if not stripped or not all(stripped) or len(set(stripped)) < len(stripped):
        raise InputError("classes", f"must be named, each once, not {', '.join(map(repr, names)) or 'none'}")
    starred = [name for name in stripped if name.endswith("*")]
    if starred:
        raise InputError("classes", f"must not end in *, by which QuPath marks what is no object: {starred[0]!r}")
    return stripped


def rename_classes(store: Store, names: Sequence[str]) -> tuple[str, ...]:
    """Name the classes anew, while nothing refers to them."""
    checked = check_classes(names)
    with store.write() as session:
        row = session.get(ProjectRow, 1)
        assert row is not None
        if list(row.class_names) == checked:
            return tuple(checked)
        if any(session.scalar(select(table).limit(1)) for table in (AnnotationRow, DraftRow, RoundRow)):
            raise InputError("classes", "cannot be changed once something is annotated")
        row.class_names = checked
    return tuple(checked)
