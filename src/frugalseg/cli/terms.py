"""Terms of weights, shown when a user first uses them."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def show_terms(licences: Iterable[str]) -> None:
    """Print on stderr those that this user has not been shown yet."""
    from frugalseg.artifact import NOT_STATED
    from frugalseg.shipped import is_first_use

    for licence in licences:
        if licence != NOT_STATED and is_first_use(licence):
            print(f"terms of these weights: {licence}", file=sys.stderr)
