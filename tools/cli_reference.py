"""Write ``docs/reference/cli.md`` from the parsers of the command line; ``make docs`` calls this.

Made from the parsers' own data, not from ``--help``, whose layout differs between versions of Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from frugalseg.atomic import write_text
from frugalseg.cli import COMMANDS, build_parser
from frugalseg.train.config import PRESETS, TrainConfig

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"

HEAD = """\
# Commands

<!-- made by tools/cli_reference.py; make docs makes it anew -->

This page is made from the program itself; `frugalseg COMMAND --help` says the same.

Every command takes `--json`, which prints one JSON document on stdout instead of text; logs and progress go to stderr.

| exit code | meaning |
| ---: | --- |
| 0 | done |
| 1 | failed, for example a training that diverged |
| 2 | input that cannot be used; each problem is one line on stderr that names file and reason |
| 130 | interrupted (Ctrl-C) |
"""


def reference() -> str:
    """The page, as Markdown."""
    subparsers = next(
        action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    ).choices
    parts = [HEAD, *(_command(name, subparsers[name]) for name in COMMANDS)]
    return "\n".join(parts)


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    lines = [f"## frugalseg {name}", "", f"{parser.description}", "", "```text", _usage(parser), "```", ""]
    common: list[argparse.Action] = []
    special: list[tuple[list[str], list[argparse.Action]]] = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest not in ("help", "json")]
        if group.title in ("positional arguments", "options"):
            common += actions
        else:
            told = [group.description, ""] if group.description else []
            special.append(([f"### {name}: {group.title}", "", *told], actions))
    for heading, actions in [([], common), *special]:
        if actions:
            lines += [*heading, "| argument | meaning |", "| --- | --- |", *map(_row, actions), ""]
    if name == "train":
        lines += [*_presets(), ""]
    return "\n".join(lines)


def _usage(parser: argparse.ArgumentParser) -> str:
    """Command, required arguments, and that there are options."""
    needed = [action for action in parser._actions if action.required]
    words = [f"{action.option_strings[0]} {_value(action)}" if action.option_strings else _value(action)
             for action in sorted(needed, key=lambda action: bool(action.option_strings))]  # fmt: skip
    return " ".join([parser.prog, *words, "[OPTIONS]"])


def _row(action: argparse.Action) -> str:
    value = _value(action)
    names = [f"`{flag} {value}`" if value else f"`{flag}`" for flag in action.option_strings] or [f"`{value}`"]
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    choices = [str(choice) for choice in action.choices or ()]
    if isinstance(action.metavar, str) and action.metavar.startswith("{"):
        choices = action.metavar.strip("{}").split(",")
    told = f"; one of {', '.join(f'`{choice}`' for choice in choices)}" if len(choices) > 1 else ""
    required = " (required)" if action.required and action.option_strings else ""
    return f"| {', '.join(names)} | {text}{told}{required} |"


def _value(action: argparse.Action) -> str:
    """The word that stands for an argument's value; none for switches."""
    if action.nargs == 0:
        return ""
    word = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if word.startswith("{"):  # a list of choices, which the text names
        word = action.dest.upper()
    if not action.option_strings and action.choices:
        word = "|".join(map(str, action.choices))
    return f"{word}…" if action.nargs == "+" else word


def _presets() -> Iterator[str]:
    """The table of what each preset changes."""
    yield "### train: presets"
    yield ""
    yield "A preset sets these; a file given by `--config` overrides it, and flags override both."
    yield ""
    keys = list(dict.fromkeys(key for nets in PRESETS.values() for each in nets.values() for key in each))
    yield f"| preset | network | {' | '.join(f'`{key}`' for key in keys)} |"
    yield f"| --- | --- | {' | '.join('---:' for _ in keys)} |"
    for preset, nets in PRESETS.items():
        for net, values in nets.items():
            cells = [str(values.get(key, getattr(TrainConfig, key))) for key in keys]
            yield f"| `{preset}` | `{net}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    write_text(PAGE, reference())
