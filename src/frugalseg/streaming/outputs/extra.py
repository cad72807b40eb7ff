"""Libraries that only some outputs need."""

from __future__ import annotations

import importlib
from typing import Any

from frugalseg.errors import ConfigError


def needed(name: str) -> Any:
    """An optional library's module.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError("formats", f"{name} is not installed: pip install 'frugalseg[wsi]'") from None
