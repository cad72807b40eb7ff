"""The command line as a user meets it: fast, one line an error, one document for --json."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import frugalseg
from frugalseg.cli import COMMANDS, main

HEAVY = ("torch", "numpy", "scipy", "matplotlib", "skimage", "PIL", "rich")


def frugalseg_command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "frugalseg", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys\nfrom frugalseg.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_help_answers_within_half_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        assert frugalseg_command("--help").returncode == 0
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.5


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: frugalseg {name}")
    assert "--json" in told


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for name, summary in COMMANDS.items():
        assert f"{name} {summary}" in told


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"frugalseg {frugalseg.__version__}\n"
    assert importlib.metadata.version("frugalseg") == frugalseg.__version__


@pytest.mark.parametrize("words", [[], ["brew"], ["doctor", "--no-such-flag"], ["evaluate"]])
def test_wrong_words_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith("frugalseg")


def assert_one_line(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("frugalseg: ")
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", "missing"],
        ["train", "missing", "--out", "run"],
        ["evaluate", "--pred", "missing", "--truth", "missing"],
        ["predict", "missing", "missing", "--out", "out"],
    ],
    ids=lambda words: words[0],
)
def test_input_that_is_not_there_is_one_line(
    words: list[str],
    json_flag: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main([*words, *json_flag])
    out, err = capfd.readouterr()
    assert_one_line(subprocess.CompletedProcess(words, code, out, err), "missing")
    assert list(tmp_path.iterdir()) == [], "bad input left something behind"


def test_out_that_cannot_be_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "demo"
    assert_one_line(frugalseg_command("demo", "--out", str(out)), str(tmp_path / "file"))


def test_bad_settings_are_one_line_each_before_any_work(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("learning_rat = 1\nsteps = 'many'\n")
    done = frugalseg_command("train", str(tmp_path), "--out", str(tmp_path / "run"), "--config", str(settings))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"frugalseg: {settings}: unknown setting 'learning_rat'; did you mean 'learning_rate'?",
        f"frugalseg: {settings}: steps must be a whole number, not 'many'",
    ]
    assert not (tmp_path / "run").exists()


def test_json_is_exactly_one_document_on_stdout(tmp_path: Path) -> None:
    done = frugalseg_command("doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"]["frugalseg"] == frugalseg.__version__
    assert "NaN" not in done.stdout


def test_reader_that_goes_away_leaves_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "frugalseg", "doctor", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


def test_interrupt_is_one_line_and_130(tmp_path: Path) -> None:
    script = (
        "import signal, sys\nimport frugalseg.doctor as doctor\nfrom frugalseg.cli import main\n"
        "doctor.examine = lambda folder: signal.raise_signal(signal.SIGINT)\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "frugalseg: interrupted\n"
