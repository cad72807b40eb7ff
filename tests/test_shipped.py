"""Models that come with the package, and the terms of weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugalseg.artifact import NOT_STATED, read_artifact
from frugalseg.errors import InputError
from frugalseg.shipped import (
    MODELS,
    REFERENCE,
    STATE_VARIABLE,
    is_first_use,
    model_folder,
    resolve_model,
    whole_terms,
)


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_whole_small_and_knows_where_it_comes_from(name: str) -> None:
    path = resolve_model(Path(name))
    artifact = read_artifact(path)
    assert path.stat().st_size <= (3e6 if len(artifact.members) == 1 else 12e6)
    assert artifact.licence != NOT_STATED
    assert "research" in artifact.licence.lower()
    assert artifact.card.quantization is not None
    assert artifact.card.quantization.bits <= 5
    assert artifact.card.familiarity is not None
    assert artifact.card.pixel_size_um == 0.62
    assert all(member.activations for member in artifact.members)
    assert all(member["data"]["sha256"] and member["config"]["seed"] >= 0 for member in artifact.provenance["members"])
    assert path.with_suffix(".md").is_file()
    assert (model_folder() / "LICENSE.md").is_file()


def test_a_file_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glands").write_text("mine")
    assert resolve_model(Path("glands")) == Path("glands")


def test_a_folder_that_is_no_model_does_not_hide_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a project may be called."""
    monkeypatch.chdir(tmp_path)
    Path("glands").mkdir()
    assert resolve_model(Path("glands")).suffix == ".fseg"
    Path("glands/model.json").write_text("{}")
    assert resolve_model(Path("glands")) == Path("glands")


def test_terms_go_along_whole() -> None:
    short = read_artifact(resolve_model(Path("glands"))).licence
    whole = whole_terms(short)
    assert REFERENCE not in whole
    assert whole.startswith("research use only")
    assert "cite the images: K. Sirinukunwattana" in whole
    assert whole_terms("CC0-1.0") == "CC0-1.0"


def test_other_names_stay_as_they_are() -> None:
    assert resolve_model(Path("no-such-run")) == Path("no-such-run")


def test_an_installation_without_the_models_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frugalseg.shipped.model_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=r"glands: this installation came without glands-lite-5bit\.fseg"):
        resolve_model(Path("glands"))


def test_terms_are_shown_once_to_each_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    assert is_first_use("CC0")
    assert not is_first_use("CC0")
    assert is_first_use("other terms")


def test_terms_are_shown_again_where_nothing_can_be_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / ("n" * 300)):
        monkeypatch.setenv(STATE_VARIABLE, str(folder))
        assert is_first_use("CC0")
        assert is_first_use("CC0")
