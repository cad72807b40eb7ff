"""The command line. One module per command, imported only when its command is asked for.

A command module has ``configure(parser)``, which adds arguments and imports nothing heavy, and ``run(args)``, which
does the work and returns a dict for ``--json`` (or None). Errors of :mod:`frugalseg.errors` become lines on stderr.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import keyword
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from frugalseg import __version__
from frugalseg.errors import FrugalsegError, InputError

COMMANDS: dict[str, str] = {
    "demo": "the whole job on built-in synthetic glands, with a report",
    "data": "check a folder of images and masks",
    "train": "train a network on annotated images",
    "quantize": "bring a trained network to few bits a weight",
    "inspect": "how many bits a trained network takes",
    "export": "write a trained network as one packed file, or for other programs",
    "predict": "segment images with a trained model",
    "evaluate": "score label maps by the GlaS challenge's metrics",
    "simulate": "compare strategies of suggestion on images that are all annotated",
    "reproduce": "run the study of Xu et al. 2018 again, with controls: any part of it, on any machine",
    "init": "make a project of images to annotate, or add images to one",
    "serve": "annotate in the browser, train from there, get the next suggestions",
    "suggest": "which images of a project to annotate next, and why",
    "job": "run a queued job of a project; the annotation page starts these",
    "status": "how far a project is, and what the next round may bring",
    "import": "take masks into a project, as new versions of its annotations",
    "annotations": "take annotations out of a project, or into it, in the formats of other programs",
    "mark": "say that an image of a project is unusable, or usable again",
    "relink": "say where the large images of a project lie now",
    "backup": "write a project as one zip file",
    "doctor": "what this machine has, and what is missing",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line each, without the usage, which for ``train`` fills a screen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # an abbreviation would break when a flag is added

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line."""
        self.exit(2, f"{self.prog}: {message} (all about it: {self.prog} --help)\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Complain about words that no argument takes, with the nearest flag of each."""
        flags = list(self._option_string_actions)
        hints = []
        for word in unknown:
            close = (
                difflib.get_close_matches(word.partition("=")[0], flags, n=1, cutoff=0.7)
                if word.startswith("-")
                else []
            )
            hints.append(f"{word}{f' (did you mean {close[0]}?)' if close else ''}")
        self.error(f"unknown argument{'' if len(hints) == 1 else 's'}: {' '.join(hints)}")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Parser with all commands; if `only` names one, just that command's arguments are filled in."""
    return _parsers(only)[0]


def _parsers(only: str | None) -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of everything, and that of each command."""
    parser = _Parser(prog="frugalseg", description="Segment microscopy images from few annotations.")
    parser.add_argument("--version", action="version", version=f"frugalseg {__version__}")
    commands: argparse._SubParsersAction[_Parser] = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True
    )
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if only in (None, name):
            _module(name).configure(sub)
            sub.add_argument("--json", action="store_true", help="print one JSON document on stdout, logs on stderr")
    return parser, dict(commands.choices)


def _module(command: str) -> ModuleType:
    """The module of a command; one whose name Python keeps for itself has a ``_`` behind it."""
    return importlib.import_module(f"frugalseg.cli.{command}{'_' * keyword.iskeyword(command)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 unusable input, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in arguments if not word.startswith("-")), "")
    parser, commands = _parsers(named)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        commands[args.command].refuse(unknown)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        document = _module(args.command).run(args)
        if args.json:
            print(json.dumps(document, indent=2, sort_keys=True, allow_nan=False), flush=True)
    except FrugalsegError as error:
        lines = [str(problem) for problem in error.problems] if isinstance(error, InputError) else [str(error)]
        for line in lines:
            print(f"frugalseg: {line}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("frugalseg: interrupted", file=sys.stderr)
        return 130
    except OSError as error:  # disk full, permission denied: the system's reason and the file
        print(f"frugalseg: {error.filename or args.command}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0
