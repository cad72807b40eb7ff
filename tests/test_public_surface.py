"""What modules say they offer is there, and says what it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import frugalseg

MODULES = ["frugalseg", *sorted(info.name for info in pkgutil.walk_packages(frugalseg.__path__, "frugalseg."))]
CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "frugalseg.__main__"])
def test_every_module_is_documented_and_keeps_its_word(name: str) -> None:
    module = load(name)
    assert module.__doc__, f"{name} has no docstring"
    offered = getattr(module, "__all__", [])
    assert len(offered) == len(set(offered)), f"{name}.__all__ repeats a name"
    for public in offered:
        assert hasattr(module, public), f"{name}.__all__ names {public}, which is not there"
        thing = getattr(module, public)
        if inspect.isroutine(thing) or inspect.isclass(thing):
            assert inspect.getdoc(thing), f"{name}.{public} has no docstring"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "frugalseg.__main__"])
def test_every_public_function_and_class_is_documented(name: str) -> None:
    module = load(name)
    own = {
        key: thing
        for key, thing in vars(module).items()
        if not key.startswith("_") and getattr(thing, "__module__", None) == name and not hasattr(thing, "__origin__")
    }
    silent = [
        key
        for key, thing in own.items()
        if (inspect.isfunction(thing) or (inspect.isclass(thing) and thing.__init__ is not object.__init__))
        and not thing.__doc__
    ]
    assert silent == [], f"{name}: no docstring for {silent}"


def test_version_is_the_packages_and_the_changelogs() -> None:
    project = tomllib.loads((CHANGELOG.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == frugalseg.__version__
    headings = re.findall(r"^## \[(.+?)\]", CHANGELOG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert frugalseg.__version__ in headings[1:] or len(headings) == 1
