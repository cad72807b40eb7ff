"""Reports: one look for every page and picture that frugalseg writes for people to read."""

from frugalseg.report.curves import curves_png
from frugalseg.report.page import render_report, write_report
from frugalseg.report.pictures import contact_sheet, encode_picture, overlay
from frugalseg.report.sections import Figure, FigureSection, NumbersSection, Section, TableSection, TextSection

__all__ = [
    "Figure",
    "FigureSection",
    "NumbersSection",
    "Section",
    "TableSection",
    "TextSection",
    "contact_sheet",
    "curves_png",
    "encode_picture",
    "overlay",
    "render_report",
    "write_report",
]
