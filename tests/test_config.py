"""Settings in layers: what is accepted, what wins, and what the refusals say."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.config import (
    Settings,
    add_config_arguments,
    add_config_file_argument,
    config_to_dict,
    given_settings,
    load_toml,
    resolve_config,
)
from frugalseg.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Bakery:
    """A config of every kind of field."""

    loaves: int = dataclasses.field(default=12, metadata={"help": "loaves a day"})
    heat: float = dataclasses.field(default=230.0, metadata={"help": "oven, 100% of the time"})
    grain: Literal["rye", "wheat"] = "rye"
    steam: bool = True
    sign: str | None = None
    book: Path = Path("recipes")
    rates: tuple[float, ...] = (0.5, 1.0)
    shelf: tuple[int, str] = (2, "oak")
    until: int | None = dataclasses.field(default=None, metadata={"help": "closing hour"})

    def __post_init__(self) -> None:
        if self.loaves <= 0:
            raise ValueError(f"loaves must be positive, not {self.loaves}")


def parse(*words: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, Bakery)
    add_config_file_argument(parser)
    return given_settings(parser.parse_args(list(words)), Bakery)


def test_no_layers_give_the_defaults() -> None:
    assert resolve_config(Bakery) == Bakery()


def test_later_layers_win_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "bakery.toml"
    file.write_text('loaves = 20\nheat = 200\ngrain = "wheat"\nrates = [1, 2.5]\nuntil = 18\n')
    preset = Settings({"loaves": 5, "steam": False, "sign": "open"}, "preset small")
    config = resolve_config(Bakery, preset, load_toml(file), parse("--heat", "180", "--until", "none"))
    assert config == Bakery(
        loaves=20, heat=180.0, grain="wheat", steam=False, sign="open", rates=(1.0, 2.5), until=None
    )
    assert isinstance(config.rates[0], float)


def test_only_flags_written_are_given() -> None:
    assert parse() == {}
    assert parse("--loaves", "3", "--no-steam") == {"loaves": 3, "steam": False}


def test_every_kind_of_flag() -> None:
    words = [
        "--grain",
        "wheat",
        "--book",
        "b/c",
        "--rates",
        "1,2",
        "--shelf",
        "4,pine",
        "--sign",
        "none",
        "--until",
        "9",
    ]
    assert parse(*words) == {
        "grain": "wheat", "book": Path("b/c"), "rates": (1.0, 2.0), "shelf": (4, "pine"), "sign": None, "until": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loaves", "many"], "must be a whole number, not 'many'"),
        (["--loaves", "1.5"], "must be a whole number, not '1.5'"),
        (["--heat", "nan"], "must be a number, not 'nan'"),
        (["--grain", "oat"], "must be one of rye, wheat, not 'oat'"),
        (["--shelf", "1"], "must be a list of 2: a whole number, text, not '1'"),
        (["--until", "late"], "must be a whole number or none, not 'late'"),
    ],
)
def test_bad_flags_are_refused_with_what_would_be_right(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*words)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_help_tells_purpose_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "loaves a day (default: 12)" in text
    assert "oven, 100% of the time (default: 230)" in text
    assert "--grain {rye,wheat}" in text
    assert "closing hour (default: none)" in text


def test_unknown_keys_name_file_key_and_nearest_key(tmp_path: Path) -> None:
    file = tmp_path / "bakery.toml"
    file.write_text("loafs = 3\nzzz = 1\nheat = true\n")
    with pytest.raises(ConfigError) as caught:
        resolve_config(Bakery, load_toml(file))
    assert [str(problem) for problem in caught.value.problems] == [
        f"{file}: unknown setting 'loafs'; did you mean 'loaves'?",
        f"{file}: unknown setting 'zzz'",
        f"{file}: heat must be a number, not True",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loaves", True),
        ("loaves", 2.0),
        ("loaves", "2"),
        ("heat", float("nan")),
        ("heat", float("inf")),
        ("grain", "oat"),
        ("steam", 1),
        ("sign", 3),
        ("book", 3),
        ("rates", 0.5),
        ("rates", ["fast"]),
        ("shelf", [1, "oak", 2]),
        ("until", "soon"),
        ("loaves", None),
    ],
)
def test_wrong_types_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^here: {key} must be "):
        resolve_config(Bakery, Settings({key: value}, "here"))


def test_impossible_value_names_the_layer_that_set_it() -> None:
    layers = [Settings({"loaves": 4, "heat": 1.0}, "preset small"), Settings({"loaves": -1}, "my.toml")]
    with pytest.raises(ConfigError, match=r"^my\.toml: loaves must be positive, not -1$"):
        resolve_config(Bakery, *layers)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"a = ", "is not TOML: "), (b"\xff\xfe", r"is not UTF-8 text \(byte 0\)"), (b"a=1\na=2", "is not TOML: ")],
)
def test_unreadable_toml_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_toml(file)
    assert "\n" not in str(caught.value)


def test_missing_and_folder_toml_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load_toml(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_fields_of_unchecked_types_are_a_programming_error() -> None:
    @dataclasses.dataclass(frozen=True)
    class Loose:
        anything: dict[str, int] = dataclasses.field(default_factory=dict)

    with pytest.raises(TypeError, match=r"Loose\.anything"):
        resolve_config(Loose)


bakeries = st.builds(
    Bakery,
    loaves=st.integers(1, 10**6),
    heat=st.floats(allow_nan=False, allow_infinity=False),
    grain=st.sampled_from(["rye", "wheat"]),
    steam=st.booleans(),
    sign=st.none() | st.text().filter(lambda text: text != "none"),
    book=st.sampled_from([Path("a"), Path("a/b.c")]),
    rates=st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
    shelf=st.tuples(st.integers(), st.text()),
    until=st.none() | st.integers(),
)


@given(bakeries)
def test_dict_and_json_round_trip(config: Bakery) -> None:
    assert resolve_config(Bakery, json.loads(json.dumps(config_to_dict(config)))) == config


@given(bakeries)
def test_flags_round_trip(config: Bakery) -> None:
    document = config_to_dict(config)
    words = ["--steam" if document.pop("steam") else "--no-steam"]
    for key, value in document.items():
        if key in ("sign", "shelf"):  # free text with commas or blanks has no spelling as a flag
            continue
        items = value if isinstance(value, list) else ["none" if value is None else value]
        words.append(f"--{key}=" + ",".join(map(str, items)))
    kept = dataclasses.replace(config, sign=None, shelf=(2, "oak"))
    assert resolve_config(Bakery, parse(*words)) == kept


def test_toml_layer_is_what_tomllib_reads(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('sign = "Bäckerei"\n', encoding="utf-8")
    assert load_toml(file) == tomllib.loads('sign = "Bäckerei"')
    assert load_toml(file).source == str(file)
