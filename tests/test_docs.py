"""What the documentation says is so: commands parse, examples run, links lead somewhere, the reference is current."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from frugalseg.cli import build_parser

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Contents of the fenced blocks of a page that are in one of these languages."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match[1] in languages:
            yield match[2]


def command_lines(program: str) -> list[tuple[str, str]]:
    """Page and words of every call of `program` in the pages' fenced blocks without a language."""
    lines = (
        (page.relative_to(ROOT).as_posix(), " ".join(line.removeprefix("$ ").split()))
        for page in PAGES
        for block in blocks(page, "", "sh", "console")
        for line in block.replace("\\\n", " ").splitlines()
    )
    return [(page, line) for page, line in lines if line.split(" ")[0] == program]


def anchor(heading: str) -> str:
    """The fragment that Python-Markdown gives a heading."""
    plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


def reference_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "tools" / "cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_of_the_commands_is_up_to_date() -> None:
    tool = reference_tool()
    assert tool.PAGE.read_text(encoding="utf-8") == tool.reference(), "run: make docs"


@pytest.mark.parametrize(("page", "line"), command_lines("frugalseg"))
def test_documented_command_parses(page: str, line: str) -> None:
    build_parser().parse_args(shlex.split(line, comments=True)[1:])  # exits, and says why on stderr, if not


def test_there_are_commands_to_parse() -> None:
    pages = {page for page, _ in command_lines("frugalseg")}
    assert {"README.md", "docs/index.md", "docs/tutorial.md"} <= pages


@pytest.mark.parametrize(("page", "line"), command_lines("make"))
def test_documented_make_target_exists(page: str, line: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    words = shlex.split(line, comments=True)[1:]
    for word in words:
        assert "=" in word or word in targets, f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, fragment = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), f"{target}: no such file"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in [anchor(heading) for heading in headings], f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "\n".join(block for block in blocks(page, "python") if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), 0)
    told: list[str] = []
    result = doctest.DocTestRunner().run(test, out=told.append)
    assert result.failed == 0, "".join(told)


def test_there_are_examples_to_run() -> None:
    assert sum(block.count(">>>") for page in PAGES for block in blocks(page, "python")) > 20


def test_other_python_blocks_compile_and_import() -> None:
    """Blocks too slow to run: at least their syntax and the names they import are right."""
    for page in PAGES:
        for block in blocks(page, "python"):
            if ">>>" not in block:
                compile(block, page.name, "exec")
                exec("\n".join(line for line in block.splitlines() if line.startswith(("from ", "import "))), {})
