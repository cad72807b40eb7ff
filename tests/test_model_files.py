"""Which models make an ensemble, and what its card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard, check_members, joint_card
from frugalseg.rejector import Rejector

CARD = ModelCard("lite", ("gland",), 0.5, 0.62, 60.0, InstanceSettings(min_area=20))
REJECTOR = Rejector((0.1,) * 7, 0.0, 0.4)


def check(first: ModelCard, second: ModelCard) -> None:
    check_members([Path("first"), Path("second")], [first, second])


def test_members_see_objects_equally_large() -> None:
    """In µm where both know their images' pixels: the scale alone tells nothing of two magnifications."""
    check(CARD, replace(CARD, scale=0.25, pixel_size_um=0.31))
    with pytest.raises(InputError, match="second: differs from the first member in network or image scale"):
        check(CARD, replace(CARD, pixel_size_um=0.31))
    check(CARD, replace(CARD, pixel_size_um=None))
    with pytest.raises(InputError, match="image scale"):
        check(CARD, replace(CARD, scale=0.25, pixel_size_um=None))


def test_an_ensemble_has_no_rejector_whichever_member_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    judged = replace(CARD, instances=replace(CARD.instances, rejector=REJECTOR))
    assert joint_card([judged]).instances.rejector == REJECTOR
    for cards in ([judged, CARD], [CARD, judged], [judged, judged]):
        caplog.clear()
        assert joint_card(cards).instances == CARD.instances
        assert "the ensemble goes without" in caplog.text
