"""A ledger keeps results over kills, tells damage, and never changes a result."""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

from frugalseg import __version__
from frugalseg.errors import InputError
from frugalseg.ledger import Ledger

KEY = {"strategy": "cover", "seed": 3, "fraction": 0.5, "bootstrap": True, "limit": None}


def put_cells(folder: str, numbers: list[int]) -> None:
    ledger = Ledger(Path(folder))
    for number in numbers:
        ledger.put({"number": number}, {"square": number * number}, 0.0)


def test_result_comes_back_and_the_file_says_what_how_and_when(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "ledger")
    assert not ledger.has(KEY)
    ledger.put(KEY, {"f1": [0.1, 0.25], "n": 3}, seconds=1.5)
    assert ledger.has(KEY)
    assert ledger.get(KEY) == {"f1": [0.1, 0.25], "n": 3}
    (path,) = (tmp_path / "deep" / "ledger").iterdir()
    assert path == ledger.path(KEY)
    document = json.loads(path.read_text())
    assert set(document) == {"format", "key", "result", "environment", "seconds", "finished_at"}
    assert document["format"] == 1
    assert document["key"] == KEY
    assert document["seconds"] == ledger.seconds(KEY) == 1.5
    with pytest.raises(KeyError):
        ledger.seconds({"another": 1})
    assert document["finished_at"].endswith("+00:00")
    assert document["environment"]["frugalseg"] == __version__
    assert document["environment"]["threads"] >= 1


def test_names_of_files_are_readable_and_differ_with_the_key(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    name = ledger.path(KEY).name
    assert name.startswith("bootstrap-true_fraction-0.5_limit-null_seed-3_strategy-cover_")
    assert ledger.path(dict(reversed(KEY.items()))).name == name, "order of the key does not matter"
    variants: list[dict[str, Any]] = [{"a": value} for value in (1, 1.0, True, "1", None, "../../etc/passwd", "A", "a")]
    variants += [{"a": "x" * 500}, {"a": "x" * 501}, {"ä": 1}, {"a": "\ud800"}, {"a/b": "c\\d"}]
    names = {ledger.path(key).name.casefold() for key in variants}
    assert len(names) == len(variants)
    assert all(ledger.path(key).parent == tmp_path and len(ledger.path(key).name) < 120 for key in variants)
    for key in variants:
        ledger.put(key, 0, 0.0)
    assert len(list(ledger.cells())) == len(variants)


def test_run_computes_once_and_always_gives_what_the_file_holds(tmp_path: Path) -> None:
    calls = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"pair": (1, 2.0)}

    ledger = Ledger(tmp_path)
    first, second = ledger.run(KEY, compute), Ledger(tmp_path).run(KEY, compute)
    assert first == second == {"pair": [1, 2.0]}
    assert calls == [1]


def test_failed_run_leaves_no_cell(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(ZeroDivisionError):
        ledger.run(KEY, lambda: 1 / 0)
    assert not ledger.has(KEY)
    with pytest.raises(KeyError, match="seed-3"):
        ledger.get(KEY)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: float) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(InputError, match=r"result\.scores\[1\] is (nan|-?inf)"):
        ledger.put(KEY, {"scores": [0.5, number]}, 1.0)
    with pytest.raises(InputError, match="seconds is"):
        ledger.put(KEY, 1, number)
    with pytest.raises(InputError, match="fraction is"):
        ledger.put({"fraction": number}, 1, 1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("result", [{1: 2}, {1, 2}, b"bytes", Path("x")])
def test_results_that_json_would_change_are_bugs(tmp_path: Path, result: object) -> None:
    with pytest.raises(TypeError):
        Ledger(tmp_path).put(KEY, result, 1.0)


@pytest.mark.parametrize("key", [{"a": [1]}, {"a": {"b": 1}}, {1: 2}])
def test_keys_are_flat(tmp_path: Path, key: Any) -> None:
    with pytest.raises(TypeError):
        Ledger(tmp_path).has(key)
    with pytest.raises(InputError, match="empty"):
        Ledger(tmp_path).has({})


def test_result_is_never_changed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(KEY, {"f1": 0.5}, 1.0)
    content = ledger.path(KEY).read_bytes()
    ledger.put(KEY, {"f1": 0.5}, 2.0)
    with pytest.raises(InputError, match="a different result") as caught:
        ledger.put(KEY, {"f1": 0.25}, 1.0)
    assert caught.value.problems[0].where == str(ledger.path(KEY))
    assert ledger.path(KEY).read_bytes() == content


def test_cells_come_in_one_order(tmp_path: Path) -> None:
    keys = [{"seed": seed, "net": net} for seed in (2, 0, 1) for net in ("unet", "lite")]
    here, there = Ledger(tmp_path / "here"), Ledger(tmp_path / "there")
    for key in keys:
        here.put(key, key["seed"], 0.0)
    for key in reversed(keys):
        there.put(key, key["seed"], 0.0)
    cells = [(key, result) for key, result, _ in here.cells()]
    assert cells == [(key, result) for key, result, _ in there.cells()]
    assert sorted(map(str, (key for key, _ in cells))) == sorted(map(str, keys))
    assert all(cell.environment["frugalseg"] == __version__ for cell in here.cells())
    assert list(Ledger(tmp_path / "none").cells()) == []


def replaced(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new).encode()


DAMAGE: dict[str, tuple[Any, str]] = {
    "cut off": (lambda text: text[:40].encode(), "not JSON"),
    "empty": (lambda text: b"", "not JSON"),
    "bytes": (lambda text: b"\xff\xfe\x00", "not JSON"),
    "NaN": (lambda text: replaced(text, "0.75", "NaN"), "NaN for a number"),
    "too large": (lambda text: replaced(text, "0.75", "1e999"), "1e999 for a number"),
    "deep": (lambda text: b"[" * 100_000, "not JSON"),
    "a list": (lambda text: b"[1, 2]", "is not a cell"),
    "another document": (lambda text: b'{"a": 1}', "is not a cell"),
    "a later format": (lambda text: replaced(text, '"format": 1', '"format": 2'), "reads format 1"),
    "another key": (lambda text: replaced(text, '"seed": 3', '"seed": 4'), "holds the cell of another name"),
    "no key": (lambda text: replaced(text, '"key"', '"kay"'), "key is missing"),
    "nested key": (lambda text: replaced(text, '"seed": 3', '"seed": [3]'), "'seed' is list"),
    "no result": (lambda text: replaced(text, '"result"', '"rosult"'), "result is missing"),
    "seconds in words": (lambda text: replaced(text, '"seconds": 1.0', '"seconds": "one"'), "seconds is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_and_foreign_files_are_named(tmp_path: Path, kind: str) -> None:
    change, reason = DAMAGE[kind]
    ledger = Ledger(tmp_path / "ledger")
    ledger.put(KEY, {"f1": 0.75}, 1.0)
    path = ledger.path(KEY)
    path.write_bytes(change(path.read_text()))
    calls = (
        lambda: ledger.get(KEY),
        lambda: list(ledger.cells()),
        lambda: ledger.run(KEY, lambda: 1),
        lambda: ledger.put(KEY, 1, 1.0),
        lambda: Ledger(tmp_path / "other").merge(tmp_path / "ledger"),
    )
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.problems[0].where == str(path)
        assert reason in str(caught.value)
    assert not (tmp_path / "other").exists()


def test_all_damaged_files_are_named_at_once_and_other_files_are_left_alone(tmp_path: Path) -> None:
    put_cells(str(tmp_path), [1, 2, 3])
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / ".frugalseg-left-behind").mkdir()
    assert len(list(Ledger(tmp_path).cells())) == 3
    for number in (1, 3):
        Ledger(tmp_path).path({"number": number}).write_text("{")
    with pytest.raises(InputError) as caught:
        Ledger(tmp_path).cells()
    assert len(caught.value.problems) == 2


def test_merging_brings_new_cells_and_skips_equal_ones(tmp_path: Path) -> None:
    put_cells(str(tmp_path / "here"), [1, 2])
    put_cells(str(tmp_path / "there"), [2, 3, 4])
    here = Ledger(tmp_path / "here")
    kept = here.path({"number": 2}).read_bytes()
    assert here.merge(tmp_path / "there") == 2
    assert sorted(result["square"] for _, result, _ in here.cells()) == [1, 4, 9, 16]
    assert here.path({"number": 2}).read_bytes() == kept
    there = tmp_path / "there" / here.path({"number": 3}).name
    assert here.path({"number": 3}).read_bytes() == there.read_bytes()
    assert here.merge(tmp_path / "there") == 0
    assert here.merge(tmp_path / "here") == 0


def test_merging_refuses_conflicts_and_copies_nothing(tmp_path: Path) -> None:
    here, there = Ledger(tmp_path / "here"), Ledger(tmp_path / "there")
    here.put({"number": 1}, 1, 0.0)
    there.put({"number": 1}, 1.0, 0.0)
    there.put({"number": 0}, 0, 0.0)
    with pytest.raises(InputError) as caught:
        here.merge(there.folder)
    assert str(here.path({"number": 1})) in str(caught.value)
    assert str(there.path({"number": 1})) in str(caught.value)
    assert len(list(here.cells())) == 1
    with pytest.raises(InputError, match="is not a folder"):
        here.merge(tmp_path / "none")


def test_file_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        Ledger(tmp_path / "file")


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    shares = [list(range(30)), list(range(20, 50))]
    writers = [spawn.Process(target=put_cells, args=(str(tmp_path), share)) for share in shares]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(list(Ledger(tmp_path).cells())) == 50
    assert [path for path in tmp_path.iterdir() if path.suffix != ".json"] == []


def test_ledger_may_move(tmp_path: Path) -> None:
    put_cells(str(tmp_path / "here"), [1, 2])
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert Ledger(tmp_path / "there").get({"number": 2}) == {"square": 4}
