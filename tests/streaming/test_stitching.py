"""What is found tile by tile is what the whole image gives: no object is cut, none is there twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import frugalseg.streaming.objects as objects_module
import frugalseg.streaming.plan as plan_module
from frugalseg.instances import InstanceSettings, in_reading_order
from frugalseg.segmentation import segment

from .builders import HalfPrecision, field, painted, stream

SEAMS = []


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 40 pixels, so that small pictures have many."""
    monkeypatch.setattr(plan_module, "BLOCK_PX", 40)
    monkeypatch.setattr(objects_module, "BLOCK_PX", 40)
    monkeypatch.setattr(objects_module, "TOGETHER_PX", 60)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    seed=st.integers(0, 2**32),
    core=st.sampled_from([8, 16, 24, 40, 64]),
    coarseness=st.sampled_from([1, 2, 4, 8]),
    level=st.floats(0.3, 0.7),
    how=st.builds(
        InstanceSettings,
        threshold=st.sampled_from([0.3, 0.5, 0.7]),
        border_weight=st.sampled_from([0.0, 1.0]),
        min_area=st.sampled_from([0, 5, 40]),
        min_confidence=st.sampled_from([0.0, 0.6]),
    ),
    n_classes=st.sampled_from([1, 2]),
)
def test_streaming_equals_the_whole(tmp_path_factory, size, seed, core, coarseness, level, how, n_classes):
    image = field(*size, seed, coarseness, level)
    whole = segment([HalfPrecision(n_classes)], image, scale=1.0, settings=how)
    plan, _, found = stream(image, tmp_path_factory.mktemp("store"), how, core_px=core, n_classes=n_classes)
    labels, twice = painted(plan, found)
    assert not twice
    np.testing.assert_array_equal(in_reading_order(labels), whole.labels)
    original = dict(zip(labels[labels > 0].tolist(), whole.labels[labels > 0].tolist(), strict=True))
    classes = np.concatenate([each.classes for each in found]) if found else []
    confidences = np.concatenate([each.confidences for each in found]) if found else []
    for label, other in original.items():
        assert classes[label - 1] == whole.classes[other]
        assert confidences[label - 1] == pytest.approx(whole.confidences[other], abs=1e-7)
    SEAMS.append(2 * len(plan.tiles) - len({t.row for t in plan.tiles}) - len({t.column for t in plan.tiles}))


def test_these_were_more_than_a_thousand_seams():
    assert not SEAMS or sum(SEAMS) >= 1000
