"""Sections to one self-contained HTML page: no scripts, no links to anything that must be loaded."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugalseg import __version__
from frugalseg.atomic import write_text
from frugalseg.report.sections import Section

if TYPE_CHECKING:  # segmenting, which needs this package for overlays, does without
    from jinja2 import Environment

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def render_report(title: str, sections: Sequence[Section], *, summary: str = "", footer: str = "") -> str:
    """HTML page with everything in it.

    Parameters
    ----------
    title
        Heading of the page.
    sections
        In order; a list of contents leads to them where there are more than two.
    summary
        The first paragraph.
    footer
        Where the figures come from (command, seed, date), beside the program's version.

    Raises
    ------
    ValueError
        A picture that is neither PNG nor JPEG.
    """
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            summary=summary,
            footer=footer,
            version=__version__,
            sections=[
                (f"section-{number}", type(section).__name__, section) for number, section in enumerate(sections, 1)
            ],
        )
    )


def write_report(path: Path, title: str, sections: Sequence[Section], *, summary: str = "", footer: str = "") -> None:
    """Render a report (see :func:`render_report`) and write it to `path`, atomically."""
    write_text(path, render_report(title, sections, summary=summary, footer=footer))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("frugalseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "cell": _cell}
    environment.tests["numeric"] = _numeric
    return environment


def _data_uri(picture: bytes) -> str:
    for signature, kind in _SIGNATURES.items():
        if picture.startswith(signature):
            return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"
    raise ValueError("a picture in a report must be PNG or JPEG")


def _cell(value: Any, decimals: int) -> str:
    if value is None:
        return "–"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _numeric(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
