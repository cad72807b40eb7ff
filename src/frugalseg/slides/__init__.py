"""Slides: images too large to decode whole, read by the rectangle."""

from __future__ import annotations

from frugalseg.slides.array import ArraySlide
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.opening import is_slide, open_slide
from frugalseg.slides.process import ReaderProcess
from frugalseg.slides.view import SlideView

__all__ = ["ArraySlide", "Level", "ReaderProcess", "Slide", "SlideView", "is_slide", "open_slide"]
