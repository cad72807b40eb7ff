"""For mkdocs.yml: the cards, which lie beside the models, become pages, and links to them and from them fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

MODELS = Path(__file__).parent.parent / "models"


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each card and for the terms."""
    for path in sorted(MODELS.glob("*.md")):
        content = path.read_text(encoding="utf-8").replace("](../docs/", "](../")
        files.append(File.generated(config, f"models/{path.name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to a card lead to its page."""
    return markdown.replace("](../../models/", "](../models/")
