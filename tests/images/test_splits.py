"""Splits: no group on both sides, nothing lost, equal sizes, same seed same split."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.errors import InputError
from frugalseg.images import Sample, split_folds, split_validation

members = st.lists(st.tuples(st.sampled_from(["p", "q", "r", "s", "t", "u", None]), st.booleans()), max_size=40)


def make(pairs):
    mask = Path("m.png")
    return [
        Sample(f"i{n}", Path(f"i{n}.png"), mask if yes else None, "all", group) for n, (group, yes) in enumerate(pairs)
    ]


def shared_groups(samples, train, validation):
    return {samples[i].group for i in train} & {samples[i].group for i in validation} - {None}


@given(pairs=members, k=st.integers(2, 6), seed=st.integers(0, 2**32), groups=st.booleans())
def test_folds(pairs, k, seed, groups):
    samples = make(pairs)
    labelled = [i for i, sample in enumerate(samples) if sample.labelled]
    alone = [i for i in labelled if not groups or samples[i].group is None]
    units = len(alone) + len({samples[i].group for i in labelled if i not in alone})
    if units < k:
        with pytest.raises(InputError, match=f"there are {units}"):
            split_folds(samples, k, seed=seed, groups=groups)
        return
    folds = split_folds(samples, k, seed=seed, groups=groups)
    assert folds == split_folds(samples, k, seed=seed, groups=groups)
    assert sorted(i for _, validation in folds for i in validation) == labelled
    for train, validation in folds:
        assert sorted(train + validation) == labelled
        assert train
        assert validation
        assert not (groups and shared_groups(samples, train, validation))
    sizes = [len(validation) for _, validation in folds]
    largest = max([1, *([pairs.count((g, True)) for g, _ in pairs if g is not None] if groups else [])])
    assert max(sizes) - min(sizes) <= largest


@given(pairs=members, fraction=st.floats(0, 0.9), seed=st.integers(0, 2**32))
def test_validation(pairs, fraction, seed):
    samples = make(pairs)
    labelled = [i for i, sample in enumerate(samples) if sample.labelled]
    train, validation = split_validation(samples, fraction, seed=seed)
    assert (train, validation) == split_validation(samples, fraction, seed=seed)
    assert sorted(train + validation) == labelled
    assert not shared_groups(samples, train, validation)
    units = {samples[i].group or i for i in labelled}
    if fraction > 0 and len(units) > 1:
        assert train
        assert validation
    else:
        assert validation == []


def test_without_groups_the_fraction_is_met():
    train, validation = split_validation(make([(None, True)] * 40), 0.25, seed=3)
    assert (len(train), len(validation)) == (30, 10)


def test_seeds_differ():
    samples = make([(None, True)] * 40)
    assert split_folds(samples, 4, seed=1, groups=False) != split_folds(samples, 4, seed=2, groups=False)
    assert split_validation(samples, 0.2, seed=1) != split_validation(samples, 0.2, seed=2)


def test_impossible_requests():
    samples = make([("p", True)] * 5)
    with pytest.raises(InputError, match="2 folds need as many groups, there are 1"):
        split_folds(samples, 2, seed=0, groups=True)
    with pytest.raises(InputError, match="at least 2"):
        split_folds(samples, 1, seed=0, groups=False)
    with pytest.raises(InputError, match="fraction"):
        split_validation(samples, 1.0, seed=0)
