"""The synthetic glands: the same every time, sound label maps, colours and structures of stained tissue."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from frugalseg.errors import InputError
from frugalseg.images import open_dataset, read_image, read_label_map
from frugalseg.synthetic import synthetic_glands, write_synthetic_dataset

# Mean colour of a 2 x 4 grid of blocks of seed 3, and the areas of its glands. Blocks may differ by 1 grey level and
# areas by 1 % on another processor or numpy; more means that the generator changed, and with it every figure on it.
PINNED_BLOCKS = [
    182.8,
    150.3,
    211.2,
    185.0,
    149.7,
    210.9,
    179.2,
    147.9,
    207.6,
    173.1,
    141.9,
    203.4,
    196.6,
    158.3,
    222.4,
    185.0,
    149.8,
    216.0,
    188.0,
    151.0,
    216.3,
    186.7,
    154.3,
    215.4,
]
PINNED_AREAS = [
    1114,
    1131,
    1174,
    1222,
    1857,
    1956,
    3467,
    3492,
    3821,
    3891,
    3896,
    4175,
    4229,
    4417,
    4420,
    4464,
    4504,
    5012,
    5119,
    5264,
    5309,
    5324,
    5464,
    5494,
    5546,
    5646,
    6164,
]


def blocks(image: np.ndarray) -> np.ndarray:
    return image.reshape(2, 192, 4, 128, 3).mean(axis=(1, 3))


def test_pinned_picture() -> None:
    made = synthetic_glands(3)
    np.testing.assert_allclose(blocks(made.image), np.array(PINNED_BLOCKS).reshape(2, 4, 3), atol=1)
    np.testing.assert_allclose(np.sort(np.bincount(made.labels.ravel())[1:]), PINNED_AREAS, rtol=0.01, atol=5)


def test_same_bytes_in_another_process_and_untouched_by_global_seeds() -> None:
    program = (
        "import hashlib, numpy; numpy.random.seed(5); from frugalseg.synthetic import synthetic_glands as s;"
        "m = s(11, height=96, width=128); print(hashlib.sha256(m.image.tobytes() + m.labels.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before = np.random.get_state()[1].tolist()
    made = synthetic_glands(11, height=96, width=128)
    assert hashlib.sha256(made.image.tobytes() + made.labels.tobytes()).hexdigest() == other.stdout.strip()
    assert np.random.get_state()[1].tolist() == before


def test_seeds_differ_and_stain_seed_changes_colours_only() -> None:
    first, second = synthetic_glands(1, height=128, width=128), synthetic_glands(2, height=128, width=128)
    assert not np.array_equal(first.image, second.image)
    one = synthetic_glands(1, height=128, width=128, stain_seed=7)
    two = synthetic_glands(1, height=128, width=128, stain_seed=8)
    assert np.array_equal(one.labels, two.labels)
    assert not np.array_equal(one.image, two.image)


@pytest.mark.parametrize("kind", ["benign", "malignant"])
@pytest.mark.parametrize("seed", [0, 5, 9])
def test_label_maps_are_sound(kind: str, seed: int) -> None:
    made = synthetic_glands(seed, kind=kind)  # type: ignore[arg-type]
    assert made.image.shape == (384, 512, 3)
    assert made.image.dtype == np.uint8
    assert made.labels.dtype == np.int32
    assert np.array_equal(np.unique(made.labels), np.arange(made.labels.max() + 1))
    assert made.labels.max() >= 5
    assert 0.15 < (made.labels > 0).mean() < 0.9
    for label in range(1, made.labels.max() + 1):
        mask = made.labels == label
        assert ndimage.label(mask)[1] == 1
        assert mask.sum() >= 400


def inner_diameters(labels: np.ndarray) -> np.ndarray:
    """Diameters of the glands that the image's edge does not cut."""
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    areas = np.bincount(labels.ravel())
    return 2 * np.sqrt(areas[[i for i in range(1, len(areas)) if i not in cut]] / np.pi)


def test_kinds_differ_as_tissue_does() -> None:
    benign = [synthetic_glands(seed, kind="benign").labels for seed in range(6)]
    malignant = [synthetic_glands(seed, kind="malignant").labels for seed in range(6)]

    def spread(maps: list[np.ndarray]) -> float:
        return float(np.mean([inner_diameters(labels).std() / inner_diameters(labels).mean() for labels in maps]))

    def touching(maps: list[np.ndarray]) -> int:
        across = [((m[:, 1:] != m[:, :-1]) & (m[:, 1:] > 0) & (m[:, :-1] > 0)).sum() for m in maps]
        return int(np.sum(across))

    assert spread(malignant) > 2 * spread(benign)
    assert touching(malignant) > touching(benign) > 0
    assert 60 <= np.median(np.concatenate([inner_diameters(labels) for labels in benign])) <= 160


def test_colours_are_those_of_stained_tissue() -> None:
    """Rims of glands are purple (nuclei), middles pale (lumen), stroma pink: red above blue above green."""
    for seed in range(4):
        made = synthetic_glands(seed, kind="benign")
        depth = np.minimum(ndimage.distance_transform_edt(made.labels > 0), 99)
        grey = made.image.mean(axis=2)
        rim, stroma = (depth > 3) & (depth < 6), made.labels == 0
        middle = depth > 0.9 * np.percentile(depth, 99.5)
        assert grey[rim].mean() < grey[stroma].mean() < grey[middle].mean()
        red, green, _ = made.image[stroma].mean(axis=0)
        assert green < red - 20
        assert made.image[rim].mean(axis=0)[1] < made.image[rim].mean(axis=0)[2] - 20


def test_stains_vary_from_image_to_image() -> None:
    means = np.array(
        [synthetic_glands(0, height=96, width=96, stain_seed=s).image.mean(axis=(0, 1)) for s in range(12)]
    )
    assert (means.std(axis=0) > 5).all()


def test_kinds_left_open_are_unequal_in_number() -> None:
    kinds = [synthetic_glands(seed, height=32, width=32).kind for seed in range(100)]
    assert 48 <= kinds.count("benign") <= 72


def test_half_a_second_an_image() -> None:
    synthetic_glands(0)
    start = time.process_time()
    for seed in range(4):
        synthetic_glands(seed)
    assert (time.process_time() - start) / 4 < 1.5  # about 0.4 s on one core; room for busy machines


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"height": 31}, "at least 32"), ({"width": 8}, "at least 32"), ({"kind": "cat"}, "'cat'"), ({"seed": -1}, "neg")],
)
def test_unfit_arguments(arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        synthetic_glands(**{"seed": 1, **arguments})  # type: ignore[arg-type]


def test_odd_sizes() -> None:
    for kind in ("benign", "malignant"):
        assert synthetic_glands(1, height=33, width=901, kind=kind).image.shape == (33, 901, 3)  # type: ignore[arg-type]


def test_dataset_is_read_back_as_glas(tmp_path: Path) -> None:
    write_synthetic_dataset(tmp_path / "data", 10, 4, seed=1, height=96, width=128)
    data = open_dataset(tmp_path / "data")
    assert data.layout == "GlaS"
    by_subset = {name: [s for s in data.samples if s.subset == name] for name in ("train", "testA")}
    assert [len(samples) for samples in by_subset.values()] == [10, 4]
    patients = [{s.group for s in samples} for samples in by_subset.values()]
    assert not patients[0] & patients[1]
    assert sorted(s.category or "" for s in by_subset["train"]) == ["benign"] * 6 + ["malignant"] * 4
    assert {s.category for s in by_subset["testA"]} == {"benign", "malignant"}
    with (tmp_path / "data" / "Grade.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert row["name"] == "train_1"
    labels = read_label_map(tmp_path / "data" / "train_1_anno.png")
    assert labels.shape == read_image(tmp_path / "data" / "train_1.png").shape[:2]


def test_dataset_can_be_written_again_but_not_over_other_files(tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    write_synthetic_dataset(tmp_path, 2, 1, seed=1, height=64, width=64)
    first = contents()
    write_synthetic_dataset(tmp_path, 2, 1, seed=1, height=64, width=64)
    assert contents() == first
    with pytest.raises(InputError, match=r"train_2.*not part"):
        write_synthetic_dataset(tmp_path, 1, 1, seed=1, height=64, width=64)
    assert contents() == first
    with pytest.raises(InputError, match="is a file"):
        write_synthetic_dataset(tmp_path / "train_1.png", 1, 1, seed=1)
    with pytest.raises(ValueError, match="at least one"):
        write_synthetic_dataset(tmp_path, 0, 0, seed=1)


def test_the_files_say_their_pixel_size(tmp_path: Path) -> None:
    write_synthetic_dataset(tmp_path, 2, 1, seed=0, height=64, width=96)
    assert open_dataset(tmp_path).pixel_size_um == pytest.approx(0.9, rel=1e-4)
