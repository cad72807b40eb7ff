"""What every strategy has to keep to, and what each one looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frugalseg.suggest import STRATEGIES, Ask, Pool, coverage, score_maps, suggest


def pool_of(n: int = 30, seed: int = 0, n_classes: int = 2) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool(
        names=tuple(f"image {index}" for index in range(n)),
        descriptors=rng.normal(0, 1, (n, 6)) + rng.normal(0, 2, (4, 6))[rng.integers(0, 4, n)],
        uncertainty=rng.random(n),
        entropy=rng.random(n),
        bald=rng.random(n),
        foreground=np.where(rng.random(n) < 0.4, 0.0, rng.random(n)),
        class_entropy=rng.random((n, n_classes + 1)),
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
class TestEach:
    def test_gives_different_images_of_the_pool_in_order(self, strategy: str) -> None:
        picks = suggest(pool_of(), Ask(k=8), strategy)
        assert len({pick.index for pick in picks}) == 8
        assert [pick.name for pick in picks] == [f"image {pick.index}" for pick in picks]

    def test_the_same_seed_and_round_give_the_same(self, strategy: str) -> None:
        ask = Ask(k=6, round=2, seed=5)
        first = suggest(pool_of(), ask, strategy)
        assert all(suggest(pool_of(), ask, strategy) == first for _ in range(20))

    def test_a_small_pool_gives_all_it_has(self, strategy: str) -> None:
        assert {pick.index for pick in suggest(pool_of(3), Ask(k=8), strategy)} == {0, 1, 2}

    def test_the_size_of_descriptors_does_not_matter(self, strategy: str) -> None:
        pool = pool_of()
        longer = replace(pool, descriptors=pool.descriptors * np.linspace(1, 50, 30)[:, None])
        assert [p.index for p in suggest(longer, Ask(), strategy)] == [p.index for p in suggest(pool, Ask(), strategy)]

    def test_an_image_without_any_feature_does_not_break_it(self, strategy: str) -> None:
        pool = pool_of()
        descriptors = pool.descriptors.copy()
        descriptors[4] = 0
        assert len(suggest(replace(pool, descriptors=descriptors, labelled=descriptors[:5]), Ask(), strategy)) == 8


def test_suggestive_chooses_representatives_among_the_most_uncertain() -> None:
    pool = pool_of()
    picks = [pick.index for pick in suggest(pool, Ask(k=4, n_candidates=10))]
    uncertain = set(np.argsort(-pool.uncertainty)[:10])
    assert set(picks) <= uncertain
    first = max(uncertain, key=lambda index: coverage(pool.descriptors, [index]))
    assert picks[0] == first
    assert coverage(pool.descriptors, picks) >= max(
        coverage(pool.descriptors, list(np.random.default_rng(seed).permutation(list(uncertain))[:4]))
        for seed in range(50)
    )


@pytest.mark.parametrize("strategy", ["uncertainty", "entropy", "bald"])
def test_scores_are_taken_from_the_top(strategy: str) -> None:
    pool = pool_of()
    picks = [pick.index for pick in suggest(pool, Ask(k=5), strategy)]
    assert picks == np.argsort(-getattr(pool, strategy))[:5].tolist()


def test_cover_and_kmeanspp_keep_away_from_what_is_annotated() -> None:
    angles = np.radians([0, 1, 2, 90, 91])
    descriptors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pool = replace(pool_of(5), descriptors=descriptors, labelled=descriptors[:1])
    assert suggest(pool, Ask(k=1, n_candidates=1), "cover")[0].index in (3, 4)
    drawn = [suggest(pool, Ask(k=1, n_candidates=1, seed=seed), "kmeanspp")[0].index for seed in range(50)]
    assert sum(index in (3, 4) for index in drawn) >= 49


def test_foreground_random_takes_empty_images_last() -> None:
    pool = replace(pool_of(10), foreground=np.array([0.0] * 6 + [0.3] * 4))
    for seed in range(20):
        picks = [pick.index for pick in suggest(pool, Ask(k=6, seed=seed), "foreground_random")]
        assert set(picks[:4]) == {6, 7, 8, 9}


def test_random_is_even() -> None:
    counts = np.zeros(10)
    for seed in range(600):
        for pick in suggest(pool_of(10), Ask(k=3, n_candidates=3, seed=seed), "random"):
            counts[pick.index] += 1
    assert counts.sum() == 1800
    assert (abs(counts - 180) < 5 * np.sqrt(180 * 0.7)).all()


def test_power_cools_and_keeps_rare_classes_in() -> None:
    """Class 2 is found in one image only, of low entropy: it is drawn far more often than by entropy alone."""
    n = 20
    entropy = np.linspace(0.2, 1.0, n)
    by_class = np.stack([entropy, entropy, np.zeros(n)], axis=1)
    by_class[0, 2] = 0.5
    pool = replace(pool_of(n), entropy=entropy, class_entropy=by_class)

    def picks(round_: int) -> list[set[int]]:
        return [{p.index for p in suggest(pool, Ask(k=6, round=round_, seed=s), "power")} for s in range(60)]

    assert sum(0 in each for each in picks(0)) >= 58
    mean_early, mean_late = (np.mean([np.mean([entropy[i] for i in each - {0}]) for each in picks(r)]) for r in (0, 4))
    assert mean_late > mean_early + 0.1


class TestReasons:
    def test_hand_computed(self) -> None:
        angles = np.radians([0, 10, 20, 90, 100])
        pool = replace(
            pool_of(5),
            descriptors=np.stack([np.cos(angles), np.sin(angles)], axis=1),
            uncertainty=np.array([0.1, 0.5, 0.2, 0.4, 0.3]),
        )
        first, second = suggest(pool, Ask(k=2, n_candidates=2))
        assert (first.name, first.uncertainty_rank, first.uncertainty) == ("image 1", 1, 0.5)
        assert (second.name, second.uncertainty_rank) == ("image 3", 2)
        assert first.represents == pytest.approx(3 / 5)
        assert second.represents == pytest.approx(2 / 5)
        assert first.similarity == pytest.approx((1 + 2 * np.cos(np.radians(10))) / 3, rel=1e-5)
        assert set(first.nearest[:2]) == {"image 0", "image 2"}
        assert second.nearest[0] == "image 4"

    def test_images_like_no_suggestion_are_nobodys(self) -> None:
        pool = replace(pool_of(4), descriptors=np.array([[1.0, 0], [1, 0], [0, 1], [0, 0]]))
        lonely = suggest(replace(pool, uncertainty=np.array([4.0, 3, 2, 1])), Ask(k=1, n_candidates=1))
        assert lonely[0].represents == pytest.approx(2 / 4)
        empty = suggest(replace(pool, uncertainty=np.array([1.0, 2, 3, 4])), Ask(k=1, n_candidates=1))[0]
        assert (empty.name, empty.represents, empty.similarity) == ("image 3", 1 / 4, 1.0)

    def test_twins_of_a_suggestion_leave_it_its_own_place(self) -> None:
        pool = replace(pool_of(4), descriptors=np.ones((4, 2)))
        picks = suggest(pool, Ask(k=4))
        assert sum(pick.represents for pick in picks) == pytest.approx(1)
        assert all(pick.represents == pytest.approx(0.25) for pick in picks)
        assert all(pick.nearest == () for pick in picks)


class TestScores:
    def test_two_members_by_hand(self) -> None:
        one = np.array([[[1.0, 0.5]], [[0.0, 0.5]], [[0.9, 0.9]]], dtype=np.float32)  # background, object, border
        two = np.array([[[0.0, 0.5]], [[1.0, 0.5]], [[0.1, 0.1]]], dtype=np.float32)
        scores = score_maps(iter([one, two]))
        np.testing.assert_allclose(scores.uncertainty_map, [[0.5, 0.0]])
        assert scores.uncertainty == pytest.approx(0.25)
        assert scores.entropy == pytest.approx(np.log(2))
        assert scores.bald == pytest.approx(np.log(2) / 2)  # the second pixel is unsure, but all agree
        assert scores.class_entropy.tolist() == pytest.approx([np.log(2), 0])
        assert scores.foreground == 0

    def test_borders_and_size_do_not_count(self) -> None:
        rng = np.random.default_rng(0)
        maps = rng.random((3, 3, 8, 8)).astype(np.float32)
        maps[:, :2] /= maps[:, :2].sum(axis=1, keepdims=True)
        larger = np.tile(maps, (1, 1, 3, 2))
        larger[:, 2] = rng.random(larger[:, 2].shape)
        small, large = score_maps(maps), score_maps(larger)
        for name in ("uncertainty", "entropy", "bald", "foreground"):
            assert getattr(small, name) == pytest.approx(getattr(large, name))
        assert small.uncertainty == pytest.approx(np.std(1 - maps[:, 0], axis=0).mean(), rel=1e-5)

    def test_an_empty_image_that_all_call_empty_scores_nothing(self) -> None:
        maps = np.zeros((4, 3, 6, 6), dtype=np.float32)
        maps[:, 0] = 1
        scores = score_maps(maps)
        assert (scores.uncertainty, scores.bald, scores.foreground) == (0, 0, 0)
        assert scores.entropy < 1e-9

    def test_no_maps_or_maps_of_two_images(self) -> None:
        with pytest.raises(ValueError, match="no map"):
            score_maps([])
        with pytest.raises(ValueError, match="shapes"):
            score_maps([np.zeros((3, 4, 4), dtype=np.float32), np.zeros((3, 4, 5), dtype=np.float32)])


@pytest.mark.parametrize(
    "change",
    [
        {"uncertainty": np.zeros(3)},
        {"entropy": np.full(30, np.nan)},
        {"descriptors": np.zeros(30)},
        {"labelled": np.zeros((2, 5))},
    ],
)
def test_pools_that_cannot_be(change: dict) -> None:
    with pytest.raises(ValueError, match=r"images|finite|axes|length"):
        replace(pool_of(), **change)


def test_twice_as_many_candidates_as_picks_by_default() -> None:
    picks = suggest(pool_of(60), Ask(k=20))
    assert max(pick.uncertainty_rank for pick in picks) <= 40


def test_questions_that_cannot_be() -> None:
    for wrong in ({"k": 0}, {"k": 9, "n_candidates": 8}, {"round": -1}):
        with pytest.raises(ValueError, match="must"):
            Ask(**wrong)
    with pytest.raises(ValueError, match="no strategy"):
        suggest(pool_of(), Ask(), "guess")
    with pytest.raises(ValueError, match="empty"):
        suggest(pool_of(0), Ask(), "random")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_image_gives_more_windows_than_its_share(strategy: str) -> None:
    pool = replace(pool_of(30), images=tuple(f"slide {index // 10}" for index in range(30)))
    picks = suggest(pool, Ask(k=6, per_image=2, seed=3), strategy)
    slides = [pool.images[pick.index] for pick in picks]
    assert len(picks) == len({pick.index for pick in picks}) == 6
    assert max(slides.count(slide) for slide in slides) == 2
    assert len(suggest(pool, Ask(k=8, per_image=2), strategy)) == 6  # three slides have no more to give


def test_a_cap_that_does_not_bind_changes_nothing() -> None:
    pool = replace(pool_of(30), images=tuple(map(str, range(30))))
    for strategy in STRATEGIES:
        assert suggest(pool, Ask(k=5, per_image=1), strategy) == suggest(pool_of(30), Ask(k=5), strategy)


def test_a_second_pick_does_not_repeat_what_the_first_covers_where_images_have_had_their_share() -> None:
    kinds = [0, 1, 1, 1, 0, 0, 0, 0, 2, 2]
    pool = replace(
        pool_of(10),
        descriptors=np.eye(3)[kinds],
        uncertainty=np.linspace(1, 0.5, 10),
        images=("A",) * 4 + ("B",) * 4 + ("C",) * 2,
    )
    for strategy in ("suggestive", "cover"):
        picks = [pick.index for pick in suggest(pool, Ask(k=2, n_candidates=10, per_image=1), strategy)]
        assert [kinds[index] for index in picks] == [0, 2]  # of A all is taken, and B holds nothing else
