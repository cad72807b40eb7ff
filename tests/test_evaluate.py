"""Folders of label maps: pairing, problems, the document, the command."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.evaluate import evaluate_folders, score_folders
from frugalseg.images.labels import write_label_map
from frugalseg.images.objects import doubt_of
from frugalseg.metrics import FIGURES, object_dice, pool


def squares(*corners, shape=(24, 30), size=6):
    """Label map with a square object 1, 2, … at each corner."""
    labels = np.zeros(shape, np.int32)
    for label, (top, left) in enumerate(corners, start=1):
        labels[top : top + size, left : left + size] = label
    return labels


TRUTH = {"a": squares((2, 2), (12, 14)), "b": squares((8, 8)), "c": squares()}
PRED = {"a": squares((2, 3), (12, 14)), "b": squares((9, 8)), "c": squares((0, 0))}


@pytest.fixture
def folders(tmp_path):
    """Predictions as `predict` leaves them, truths beside their images as in GlaS."""
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    (pred / "overlays").mkdir(parents=True)
    truth.mkdir()
    for name, labels in TRUTH.items():
        write_label_map(truth / f"{name}_anno.png", labels)
        Image.new("RGB", (30, 24), "pink").save(truth / f"{name}.png")
    for name, labels in PRED.items():
        write_label_map(pred / f"{name}.tif", labels)
        Image.new("RGB", (30, 24), "pink").save(pred / "overlays" / f"{name}.png")
    (pred / "objects.csv").write_text("image,label,area\na,1,36\n")
    (truth / "Grade.csv").write_text("name, patient ID\n")
    return pred, truth


def problems_of(*args, **kwargs):
    with pytest.raises(InputError) as caught:
        evaluate_folders(*args, **kwargs)
    return [str(problem) for problem in caught.value.problems]


def test_document(folders):
    document = evaluate_folders(*folders)
    assert sorted(document["per_image"]) == ["a", "b", "c"]
    assert (document["n_images"], document["n_objects_truth"], document["n_objects_pred"]) == (3, 3, 4)
    assert document["object_f1"] == pytest.approx(6 / 7)
    for name, figures in document["per_image"].items():
        assert figures["object_dice"] == object_dice(PRED[name], TRUTH[name])
        assert set(figures) == set(document) - {"mean", "per_image", "n_extra_predictions"}
    for name in FIGURES:
        singles = [figures[name] for figures in document["per_image"].values()]
        assert document["mean"][name] == pytest.approx(np.mean(singles))
    assert (document["n_images_empty_truth"], document["hausdorff_diagonal_fallbacks"]) == (1, 1)
    json.dumps(document, allow_nan=False)


def test_statistics_pool_to_the_document(folders):
    images = score_folders(*folders).images
    assert pool(list(images.values())).object_hausdorff == evaluate_folders(*folders)["object_hausdorff"]
    assert list(images) == ["a", "b", "c"]


def test_folder_of_plain_masks(folders, tmp_path):
    expected = evaluate_folders(*folders)
    plain = tmp_path / "masks"
    plain.mkdir()
    for name in TRUTH:
        shutil.copy(folders[1] / f"{name}_anno.png", plain / f"{name}.png")
    assert evaluate_folders(folders[0], plain) == expected


def test_cellpose_masks_are_preferred_on_both_sides(folders):
    pred, truth = folders
    for name in TRUTH:
        (truth / f"{name}_anno.png").rename(truth / f"{name}_masks.png")
        (pred / f"{name}.tif").rename(pred / f"{name}_cp_masks.tif")
        shutil.copy(truth / f"{name}.png", pred / f"{name}.png")
    assert evaluate_folders(pred, truth)["object_f1"] == pytest.approx(6 / 7)


def test_missing_predictions_are_all_named(folders):
    for name in "ab":
        (folders[0] / f"{name}.tif").unlink()
    listed = problems_of(*folders)
    assert len(listed) == 2
    assert "a_anno.png: no prediction 'a' in" in listed[0]
    assert "b_anno.png: no prediction 'b' in" in listed[1]
    assert evaluate_folders(*folders, match="c")["n_images"] == 1


def test_what_is_not_predicted_can_be_left_out(folders, caplog):
    pred, truth = folders
    (pred / "b.tif").unlink()
    document = evaluate_folders(pred, truth, predicted_only=True)
    assert sorted(document["per_image"]) == ["a", "c"]
    assert "1 truths without prediction are left out" in caplog.text
    for path in pred.glob("*.tif"):
        path.unlink()
    write_label_map(pred / "other.tif", TRUTH["a"])
    assert problems_of(pred, truth, predicted_only=True) == [f"{pred}: holds no prediction of any truth"]


def test_labels_that_are_hardly_objects_are_told(folders, tmp_path, caplog):
    """A mask that was resized with interpolation, and one whose values are classes."""
    pred, truth = folders
    large = np.kron(TRUTH["a"] > 0, np.full((8, 8), 255)).astype(np.uint8)
    soft = Image.fromarray(large).resize((170, 130), Image.Resampling.BICUBIC).rotate(20, Image.Resampling.BICUBIC)
    soft.save(truth / "a_anno.png")
    write_label_map(pred / "a.tif", np.asarray(soft).astype(np.int32) // 255)
    classes = np.zeros((24, 30), np.int32)
    classes[2:5, 2:28:4], classes[10:13, 2:28:4] = 1, 2
    write_label_map(truth / "b_anno.png", classes)
    evaluate_folders(pred, truth)
    assert "pieces: was it resized with interpolation" in caplog.text
    assert f"{truth / 'b_anno.png'}: its 2 labels lie in 14 pieces: are they classes?" in caplog.text
    assert doubt_of(TRUTH["a"]) is None


def test_every_kind_of_problem_is_listed_at_once(folders):
    pred = folders[0]
    (pred / "a.tif").unlink()
    write_label_map(pred / "b.tif", squares(shape=(24, 31)))
    (pred / "c.tif").write_bytes((pred / "c.tif").read_bytes()[:60])
    listed = problems_of(*folders)
    assert len(listed) == 3
    assert any("b.tif: is 31x24, its truth 30x24" in line for line in listed)
    assert any("c.tif" in line for line in listed)


def test_several_files_for_one_stem(folders):
    write_label_map(folders[0] / "a.png", PRED["a"])
    assert problems_of(*folders) == [f"{folders[0] / 'a.png'}: not the only file for 'a': a.tif"]


def test_unusable_folders(folders, tmp_path):
    pred, truth = folders
    assert "no such folder" in problems_of(tmp_path / "nowhere", truth)[0]
    assert "is not a folder" in problems_of(pred, truth / "Grade.csv")[0]
    (tmp_path / "data" / "masks").mkdir(parents=True)
    assert "did you mean its subfolder masks?" in problems_of(pred, tmp_path / "data")[0]
    assert "'z*'" in problems_of(pred, truth, match="z*")[0]


def test_colour_truth_is_refused(folders):
    for name in TRUTH:
        (folders[1] / f"{name}_anno.png").unlink()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 30, 3), np.uint8)).save(
            folders[1] / f"{name}.png"
        )
    listed = problems_of(*folders)
    assert len(listed) == 3
    assert all("colour image" in line for line in listed)


def test_extra_predictions_are_counted_and_logged(folders, caplog):
    write_label_map(folders[0] / "z.png", PRED["a"])
    document = evaluate_folders(*folders)
    assert (document["n_images"], document["n_extra_predictions"]) == (3, 1)
    assert "1 predictions without truth are not scored, such as z" in caplog.text


def test_one_label_for_all_objects(folders, caplog):
    write_label_map(folders[1] / "a_anno.png", (TRUTH["a"] > 0) * np.int32(255))
    expected = evaluate_folders(folders[0], folders[1], connected_components=True)
    assert expected["object_f1"] == pytest.approx(6 / 7)
    assert not caplog.text
    merged = evaluate_folders(*folders)
    assert merged["n_objects_truth"] == 2
    assert "--components" in caplog.text


def test_components_leave_instance_maps_alone(folders):
    touching = squares((2, 2), (2, 8), (12, 14))
    for folder, suffix in zip(folders, (".tif", "_anno.png"), strict=True):
        write_label_map(folder / f"a{suffix}", touching)
    document = evaluate_folders(*folders, connected_components=True)
    assert document["per_image"]["a"]["n_objects_truth"] == 3
    assert document["per_image"]["a"]["object_f1"] == 1.0


def test_ignored_pixels(folders):
    labels = TRUTH["b"].copy()
    labels[14:] = 99
    labels[:9] = 99
    write_label_map(folders[1] / "b_anno.png", labels)
    figures = evaluate_folders(*folders, ignore_value=99)["per_image"]["b"]
    assert figures["object_dice"] == 1.0
    assert figures["n_pixels_unknown"] == 19 * 30


def with_classes(folders):
    (folders[0] / "objects.csv").write_text(
        "image,label,class,area\na,1,gland,36\na,2,tumour,36\nb,1,gland,36\nc.tif,1,tumour,36\n"
    )
    (folders[1] / "classes.csv").write_text("image,label,class\na,1,gland\na,2,tumour\nb_anno.png,1,tumour\n")


def test_classes(folders):
    assert "classes" not in evaluate_folders(*folders)
    with_classes(folders)
    document = evaluate_folders(*folders)
    assert list(document["classes"]) == ["gland", "tumour"]
    gland, tumour = document["classes"].values()
    assert (gland["n_objects_truth"], gland["n_objects_pred"], gland["n_true_positives"]) == (1, 2, 1)
    assert (tumour["n_objects_truth"], tumour["n_objects_pred"], tumour["n_true_positives"]) == (2, 2, 1)
    assert gland["object_dice"] == pytest.approx((30 / 36 + 30 / 36 / 2) / 2)
    assert document["object_f1"] == pytest.approx(6 / 7)
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(("old", "new"), [(",", ";"), (",", "\t"), ("image,label,class", "Image,Label,Class")])
def test_class_tables_as_spreadsheets_write_them(folders, old, new):
    with_classes(folders)
    expected = evaluate_folders(*folders)["classes"]
    table = folders[1] / "classes.csv"
    table.write_text(table.read_text().replace(old, new))
    assert evaluate_folders(*folders)["classes"] == expected


def test_objects_without_a_class_are_told(folders):
    with_classes(folders)
    (folders[1] / "classes.csv").write_text("image,label,class\na,1,gland\n")
    assert problems_of(*folders) == [
        f"{folders[1] / 'a_anno.png'}: object 2 has no class in classes.csv",
        f"{folders[1] / 'b_anno.png'}: object 1 has no class in classes.csv",
    ]


@pytest.mark.parametrize("ending", ["_img", "_0000"])
def test_predictions_are_named_as_the_images_of_other_programs(folders, ending):
    expected = evaluate_folders(*folders)
    for path in folders[0].glob("*.tif"):
        path.rename(path.with_stem(path.stem + ending))
    found = evaluate_folders(*folders)
    assert (found["per_image"], found["n_extra_predictions"]) == (expected["per_image"], 0)


@pytest.mark.parametrize("ending", ["_img", "_0000"])
def test_classes_of_objects_in_images_named_by_other_programs(folders, ending):
    """Tables name images as their own side does, or as the pair is named."""
    with_classes(folders)
    expected = evaluate_folders(*folders)["classes"]
    for path in folders[0].glob("*.tif"):
        path.rename(path.with_stem(path.stem + ending))
    assert evaluate_folders(*folders)["classes"] == expected
    table = folders[0] / "objects.csv"
    table.write_text(table.read_text().replace("\na,", f"\na{ending},").replace("\nb,", f"\nb{ending}.png,"))
    assert evaluate_folders(*folders)["classes"] == expected
    (folders[1] / "classes.csv").write_text("image,label,class\na_anno,1,gland\na_anno,2,tumour\nb_anno,1,tumour\n")
    assert evaluate_folders(*folders)["classes"] == expected


def test_classes_of_an_image_whose_name_ends_like_a_file(tmp_path):
    for side in ("pred", "truth"):
        write_label_map(tmp_path / side / "s.tif.png", squares((2, 2)))
    (tmp_path / "pred" / "objects.csv").write_text("image,label,class\ns.tif,1,gland\n")
    (tmp_path / "truth" / "classes.csv").write_text("image,label,class\ns.tif.png,1,gland\n")
    assert evaluate_folders(tmp_path / "pred", tmp_path / "truth")["classes"]["gland"]["object_f1"] == 1


def test_class_table_with_a_bad_label(folders):
    with_classes(folders)
    (folders[1] / "classes.csv").write_text("image,label,class\na,one,gland\n")
    assert problems_of(*folders) == [f"{folders[1] / 'classes.csv'}: label 'one' of a is not a number"]


# --- the command ----------------------------------------------------------------------------------------------------


def test_command_json(folders, capsys):
    pred, truth = map(str, folders)
    assert main(["evaluate", "--pred", pred, "--truth", truth, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(evaluate_folders(*folders)))


def test_command_table_and_csv(folders, tmp_path, capsys):
    pred, truth = map(str, folders)
    out = tmp_path / "deep" / "scores.csv"
    assert main(["evaluate", "--pred", pred, "--truth", truth, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "pooled" in printed
    assert "0.8571" in printed
    rows = list(csv.DictReader(out.open()))
    assert [row["image"] for row in rows] == ["a", "b", "c"]
    assert float(rows[0]["object_dice"]) == object_dice(PRED["a"], TRUTH["a"])


def test_command_reports_missing_predictions(folders, tmp_path, capsys):
    (folders[0] / "b.tif").unlink()
    out = tmp_path / "scores.csv"
    assert main(["evaluate", "--pred", str(folders[0]), "--truth", str(folders[1]), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "no prediction 'b'" in printed.err
    assert not out.exists()


def test_configuring_the_command_imports_nothing_heavy():
    heavy = "{'numpy', 'rich'} & set(sys.modules)"
    code = f"import sys, frugalseg.cli as c; c.build_parser('evaluate'); sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_glands_against_themselves(tmp_path):
    data = Path(os.environ.get("FRUGALSEG_DATA", Path(__file__).parents[2] / "shared" / "data")) / "glas" / "testA"
    if not data.is_dir():
        pytest.skip(f"no GlaS images in {data} (set FRUGALSEG_DATA)")
    for path in data.glob("testA_*_anno.png"):
        shutil.copy(path, tmp_path / path.name.replace("_anno", ""))
    document = evaluate_folders(tmp_path, data)
    assert (document["n_images"], document["n_objects_truth"]) == (60, 666)
    assert [document[name] for name in FIGURES] == [1.0, 1.0, 0.0, 1.0, 1.0]
