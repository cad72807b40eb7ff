"""Probability maps become objects as an eye would cut them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import ndimage

from frugalseg.instances import MAX_OPENING_PX, InstanceSettings, object_classes, object_confidences, separate, tidy
from frugalseg.train.config import TrainConfig


def maps(front, border=None, n_classes=1):
    """Probability map of one foreground probability, all of it in the first class."""
    front = np.asarray(front, dtype=np.float32)
    border = np.zeros_like(front) if border is None else np.asarray(border, dtype=np.float32)
    rest = [np.zeros_like(front)] * (n_classes - 1)
    return np.stack([1 - front, front, *rest, border])


def two_discs(distance=26, radius=15):
    yy, xx = np.mgrid[:50, :80]
    left = (yy - 25) ** 2 + (xx - 25) ** 2 < radius**2
    right = (yy - 25) ** 2 + (xx - 25 - distance) ** 2 < radius**2
    return left, right


def test_nothing_gives_zeros():
    labels = separate(maps(np.zeros((5, 7))), InstanceSettings())
    assert labels.shape == (5, 7)
    assert labels.dtype == np.int32
    assert not labels.any()


def test_apart_objects_are_components_in_reading_order():
    front = np.zeros((6, 9))
    front[3:5, 1:3] = 0.9
    front[1:3, 6:8] = 0.9
    labels = separate(maps(front), InstanceSettings())
    assert labels[1, 6] == 1
    assert labels[3, 1] == 2
    assert labels.max() == 2


def test_without_borders_objects_are_connected_components():
    """However high a core has to be: this bridge between two blobs is foreground, and no core."""
    front = np.zeros((12, 30))
    front[2:10, 2:10] = front[2:10, 20:28] = 0.95
    front[5:7, 10:20] = 0.55
    settings = InstanceSettings(core_threshold=0.6)
    assert separate(maps(front), settings).max() == 2
    labels = separate(maps(front, front), replace(settings, border_weight=0.0))
    assert ((labels == 1) == (front > 0)).all()


def test_doubt_counts_for_objects_of_any_size_where_no_size_is_debris():
    front = np.zeros((12, 30))
    front[2:10, 2:10], front[2:10, 20:28] = 0.95, 0.6
    labels = separate(maps(front), InstanceSettings(min_area=0, min_confidence=0.8))
    assert (labels > 0).sum() == 64


def test_a_border_cuts_touching_objects_and_both_keep_their_half():
    left, right = two_discs()
    border = np.zeros((50, 80))
    border[:, 36:40] = 0.95
    labels = separate(maps((left | right) * 0.98, border), InstanceSettings())
    assert labels.max() == 2
    assert ((labels > 0) == (left | right)).all()
    assert labels[25, 20] != labels[25, 56]
    areas = np.bincount(labels.ravel())[1:]
    assert abs(int(areas[0]) - int(areas[1])) < 0.1 * areas.sum()


def test_without_weight_on_the_border_they_are_one():
    left, right = two_discs()
    border = np.zeros((50, 80))
    border[:, 36:40] = 0.95
    labels = separate(maps((left | right) * 0.98, border), InstanceSettings(border_weight=0))
    assert labels.max() == 1


def test_an_object_that_is_all_border_is_kept():
    front = np.zeros((10, 10))
    front[4:6, 2:8] = 0.9
    labels = separate(maps(front, front), InstanceSettings())
    assert (labels > 0).sum() == 12
    assert labels.max() == 1


def test_debris_goes_and_holes_are_filled():
    front = np.zeros((30, 30))
    front[5:20, 5:20] = 0.9
    front[10:13, 10:13] = 0.0
    front[25, 25] = 0.9
    labels = separate(maps(front), InstanceSettings(min_area=4))
    assert labels.max() == 1
    assert labels[11, 11] == 1
    assert labels[25, 25] == 0


def test_an_object_inside_another_ones_hole_stays_itself():
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[2:18, 2:18] = 1
    labels[6:14, 6:14] = 0
    labels[9:11, 9:11] = 2
    result = tidy(labels, 0)
    assert sorted(np.unique(result)) == [1, 2] or sorted(np.unique(result)) == [0, 1, 2]
    assert result[9, 9] != result[3, 3]
    assert result[7, 7] == result[3, 3]


def test_classes_and_confidences_are_means_over_the_object():
    probabilities = np.zeros((4, 2, 4), dtype=np.float32)  # background, two classes, border
    probabilities[1, :, :2], probabilities[2, :, :2] = 0.2, 0.7
    probabilities[1, :, 2:], probabilities[2, :, 2:] = 0.6, 0.1
    probabilities[0] = 1 - probabilities[1] - probabilities[2]
    labels = np.array([[1, 1, 2, 2]] * 2, dtype=np.int32)
    assert object_classes(labels, probabilities) == {1: 1, 2: 0}
    assert object_confidences(labels, probabilities) == pytest.approx({1: 0.9, 2: 0.7})


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="threshold"):
        InstanceSettings(threshold=1.5)
    with pytest.raises(ValueError, match="min_area"):
        InstanceSettings(min_area=-1)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(0, 30))
def test_objects_are_numbered_without_gaps_and_none_is_below_the_debris_size(seed, weight, min_area):
    rng = np.random.default_rng(seed)
    coarse = rng.random((2, 5, 7)).astype(np.float32).repeat(5, axis=1).repeat(5, axis=2)
    labels = separate(maps(coarse[0], coarse[1]), InstanceSettings(border_weight=weight, min_area=min_area))
    areas = np.bincount(labels.ravel())[1:]
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    areas[cut[cut > 0] - 1] *= 3  # cut by the edge: may be 2.5 times smaller
    assert (areas >= max(min_area, 1)).all()
    assert (labels[coarse[0] > 0.5] >= 0).all()


def test_small_objects_that_the_network_doubts_are_left_out():
    front = np.zeros((30, 30))
    front[2:9, 2:9], front[12:19, 2:9], front[2:22, 12:28] = 0.9, 0.7, 0.7
    assert separate(maps(front), InstanceSettings(min_area=20)).max() == 3
    labels = separate(maps(front), InstanceSettings(min_area=20, min_confidence=0.8))
    assert labels.max() == 2  # the sure one, and the doubtful one of more than 5 x 20 pixels
    assert labels[3, 3] > 0
    assert labels[13, 3] == 0
    assert (labels[3:21, 13:27] > 0).all()


def test_objects_cut_by_the_edge_may_be_smaller_and_more_doubtful():
    front = np.zeros((40, 40))
    front[0:5, 4:10] = front[12:17, 4:10] = 0.9  # 30 pixels each, the first one cut by the edge
    settings = InstanceSettings(min_area=60)
    labels = separate(maps(front), settings)
    assert labels.max() == 1
    assert (labels[0:5, 4:10] == 1).all()
    assert separate(maps(front), InstanceSettings(min_area=80)).max() == 0
    front = np.zeros((40, 40))
    front[30:40, 20:40] = front[5:15, 5:25] = 0.7  # 200 pixels each, the first one cut
    settings = InstanceSettings(min_area=60, min_confidence=0.8)  # doubt counts below 300
    assert separate(maps(front), settings)[35, 30] == 1
    assert separate(maps(front), settings).max() == 1


class TestFragments:
    """Small pieces that a weak border cut off rejoin their neighbours."""

    def strip(self, border, **settings):
        """A bar of 10 x 40 pixels, cut by a border of this probability into 24 and 16 columns."""
        front, rim = np.zeros((14, 44)), np.zeros((14, 44))
        front[2:12, 2:42] = 1.0
        rim[2:12, 25:27] = border
        return separate(maps(front, rim), InstanceSettings(core_threshold=0.65, **settings))

    @pytest.mark.parametrize(
        ("border", "area", "edge", "n"),
        [
            (0.5, 0, 0.3, 2),  # switched off
            (0.5, 161, 0.3, 1),  # the right piece has 160 pixels
            (0.5, 160, 0.3, 2),
            (0.5, 1000, 0.3, 1),
            (0.5, 1000, 0.49, 1),  # along the edge the core map is 0.5
            (0.5, 1000, 0.5, 2),
            (0.8, 1000, 0.3, 2),  # a border that the network is sure of
            (0.3, 0, 0.3, 1),  # never cut
        ],
    )
    def test_rejoin_below_their_size_along_weak_edges(self, border, area, edge, n):
        labels = self.strip(border, fragment_area=area, fragment_edge=edge)
        assert labels.max() == n
        assert (labels > 0).sum() == 400

    def test_join_where_the_edge_is_longest(self):
        front, border = np.zeros((30, 40)), np.zeros((30, 40))
        front[5:25, 2:38] = 1.0
        front[5:15, 2:18] = 0.0
        border[5:25, 18:20] = border[5:25, 28:30] = 0.6  # pieces of 10 x 16, 20 x 10 and 20 x 8 pixels or so
        apart = separate(maps(front, border), InstanceSettings(core_threshold=0.65))
        assert apart.max() == 3
        labels = separate(
            maps(front, border), InstanceSettings(core_threshold=0.65, fragment_area=190, fragment_edge=0.3)
        )
        areas = sorted(np.bincount(apart.ravel())[1:].tolist())
        assert areas[1] < 190 <= areas[2]
        assert labels.max() == 1, "both small ones touch the large middle one"
        border[5:25, 18:20] = 0.9
        labels = separate(
            maps(front, border), InstanceSettings(core_threshold=0.65, fragment_area=190, fragment_edge=0.3)
        )
        assert labels.max() == 2, "only the right one does so along a weak edge"
        assert labels[10, 24] == labels[10, 34] != labels[20, 8]

    def test_impossible_settings_are_refused(self):
        with pytest.raises(ValueError, match="fragment_area"):
            InstanceSettings(fragment_area=-1)
        with pytest.raises(ValueError, match="fragment_edge"):
            InstanceSettings(fragment_edge=1.5)

    @given(st.integers(0, 2**32 - 1), st.sampled_from([5, 40, 200, 2000]), st.sampled_from([0.0, 0.2, 0.4]))
    def test_what_is_left_is_large_or_has_firm_edges(self, seed, area, edge):
        rng = np.random.default_rng(seed)
        fields = ndimage.gaussian_filter(rng.random((2, 28, 35)), (0, 1.5, 1.5), mode="wrap")
        front, border = 1 - 0.3 * (fields[0] > 0.56), np.clip(6 * (fields[1] - 0.45), 0, 1)
        how = {"core_threshold": 0.6, "min_area": 0}
        pieces = separate(maps(front, border), InstanceSettings(**how))
        found = separate(maps(front, border), InstanceSettings(**how, fragment_area=area, fragment_edge=edge))
        assert all(len(np.unique(found[pieces == label])) == 1 for label in range(1, int(pieces.max()) + 1))
        areas = np.bincount(found.ravel())
        core = (front * (1 - border)).astype(np.float32)
        for (one, other), values in edges_of(found, core).items():
            assert min(areas[one], areas[other]) >= area or np.mean(values) <= edge + 1e-6
        if pieces.max() != found.max():
            assert np.bincount(pieces.ravel())[1:].min() < area


class TestOpening:
    """Thin spurs are cut off; what is as wide as the disc stays."""

    def opened(self, front, radius):
        return separate(maps(np.asarray(front, dtype=float)), InstanceSettings(opening_radius=radius))

    def test_a_spur_goes_and_the_body_stays(self):
        front = np.zeros((30, 50))
        front[5:25, 5:25] = 1
        body = front.copy()
        front[14:17, 25:45] = 1  # three pixels thin
        labels = self.opened(front, 2)
        assert labels.max() == 1
        assert not labels[:, 27:].any()
        lost = np.argwhere((labels > 0) < (body > 0))
        assert len(lost) == 4 * 3, "of each corner three pixels, where the disc does not reach"
        assert set(lost.ravel().tolist()) == {5, 6, 23, 24}
        assert np.array_equal(
            self.opened(front, 1) > 0, ndimage.binary_opening(front, ndimage.generate_binary_structure(2, 1))
        )
        assert np.array_equal(self.opened(front, 0) > 0, front > 0)

    def test_parts_that_a_thin_neck_joins_are_objects_each(self):
        """No object is lost that is larger than debris."""
        front = np.zeros((30, 60))
        front[5:25, 5:25] = front[8:22, 40:54] = front[14:16, 25:40] = 1
        labels = self.opened(front, 2)
        assert labels.max() == 2
        assert labels[15, 15] != labels[15, 47]
        assert not labels[:, 27:39].any()
        only = separate(maps(front), InstanceSettings(opening_radius=2, min_area=200))
        assert only.max() == 1, "the other part has 14 x 14 pixels"
        assert not only[:, 27:].any()

    def test_what_is_thinner_than_the_disc_is_left_as_it_is(self):
        front = np.zeros((20, 40))
        front[8:11, 5:35] = 1
        assert np.array_equal(self.opened(front, 4) > 0, front > 0)

    def test_a_filled_hole_is_no_thin_wall(self):
        front = np.zeros((40, 40))
        front[5:35, 5:35] = 1
        front[7:33, 7:33] = 0
        assert self.opened(front, 3)[20, 20] == 1

    def test_objects_go_on_beyond_the_image(self):
        """A strip along the edge, and a corner: nothing is known of what lies outside."""
        front = np.zeros((20, 30))
        front[:3, :] = front[12:, :8] = 1
        labels = self.opened(front, 3)
        assert labels[:3].all()
        assert labels[19, 0]
        assert labels[19, 7]

    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 2.0, 3.3, 6.0]))
    @example(seed=24369, radius=3.3)
    def test_every_object_is_a_part_of_what_it_was_and_is_open(self, seed, radius):
        rng = np.random.default_rng(seed)
        front = np.pad(ndimage.gaussian_filter(rng.random((40, 50)), 2) > 0.5, 8).astype(float)
        whole, labels = self.opened(front, 0), self.opened(front, radius)
        reach = int(radius)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = y**2 + x**2 <= radius**2
        for label in range(1, int(whole.max()) + 1):
            before = whole == label
            after = before & (labels > 0)
            assert after.any(), "no object vanishes"
            filled = ndimage.binary_fill_holes(before)  # as a whole, though another object may lie in a hole
            opened = ndimage.binary_opening(filled, disc) if ndimage.binary_erosion(filled, disc).any() else filled
            assert np.array_equal(after, opened & before)

    def test_training_allows_what_objects_allow(self):
        TrainConfig(opening_px=MAX_OPENING_PX)
        with pytest.raises(ValueError, match="opening_px must be at most"):
            TrainConfig(opening_px=MAX_OPENING_PX + 0.1)

    @pytest.mark.parametrize("radius", [-1, 17])
    def test_impossible_settings_are_refused(self, radius):
        with pytest.raises(ValueError, match="opening_radius"):
            InstanceSettings(opening_radius=radius)


def edges_of(labels, core):
    """Lower values of all pairs of neighbouring pixels of two objects, by pair of objects."""
    edges = {}
    height, width = labels.shape
    for y, x in np.ndindex(height, width):
        for v, u in ((y + 1, x - 1), (y + 1, x), (y + 1, x + 1), (y, x + 1)):
            if v < height and 0 <= u < width and labels[y, x] and labels[v, u] and labels[y, x] != labels[v, u]:
                pair = tuple(sorted((int(labels[y, x]), int(labels[v, u]))))
                edges.setdefault(pair, []).append(min(core[y, x], core[v, u]))
    return edges
