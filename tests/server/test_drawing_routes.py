"""The page's own requests: tiles, labels, strokes, versions, conflicts."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from starlette.testclient import TestClient

from frugalseg.errors import StorageError
from frugalseg.images import write_image, write_label_map
from frugalseg.project import JobQueue, Project, Reason
from frugalseg.project.round_files import prediction_file, proposal_file, uncertainty_file

from .builders import HEIGHT, WIDTH, make_client, picture, stroke


def labels_of(client: TestClient, image: int = 1, **asked: object) -> NDArray[np.int32]:
    wanted: dict[str, object] = {"x": 0, "y": 0, "w": WIDTH, "h": HEIGHT, **asked}
    answer = client.get(f"/api/images/{image}/labels", params=wanted)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    step = int(str(wanted.get("step", 1)))
    shape = (-(-int(str(wanted["h"])) // step), -(-int(str(wanted["w"])) // step))
    return np.frombuffer(zlib.decompress(answer.content), "<i4").reshape(shape)


def test_tiles_show_the_image(shared: TestClient) -> None:
    levels = shared.get("/api/images/1").json()["levels"]
    assert levels == 2
    whole = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for row in range(2):
        for column in range(2):
            answer = shared.get(f"/api/images/1/tiles/0/{column}/{row}")
            tile = np.asarray(Pillow.open(io.BytesIO(answer.content)))
            whole[row * 512 : row * 512 + tile.shape[0], column * 512 : column * 512 + tile.shape[1]] = tile
    inner = np.abs(whole.astype(int) - picture(0)).max(axis=2)
    assert np.median(inner) <= 4, "the colours of JPEG are a little off, the places are not"
    small = Pillow.open(io.BytesIO(shared.get("/api/images/1/tiles/1/0/0").content))
    assert small.size == (WIDTH // 2, HEIGHT // 2)
    for level, column, row in ((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (99, 0, 0)):
        assert shared.get(f"/api/images/1/tiles/{level}/{column}/{row}").status_code == 404
    tag = shared.get("/api/images/1/tiles/0/0/0").headers["etag"]
    assert shared.get("/api/images/1/tiles/0/0/0", headers={"if-none-match": tag}).status_code == 304
    assert max(Pillow.open(io.BytesIO(shared.get("/api/images/1/thumbnail").content)).size) == 320


def test_a_stroke_is_what_the_next_tab_sees(client: TestClient, project: Project) -> None:
    drawn = np.zeros((HEIGHT, WIDTH), np.int32)
    drawn[100:140, 200:260] = 1
    answer = client.post(
        "/api/images/1/strokes", json=stroke("e0.0", 200, 100, drawn[100:140, 200:260], classes={"1": 1})
    )
    assert answer.json() == {"edit": "e0.1", "next_label": 2}
    other = make_client(project)
    assert (labels_of(other) == drawn).all()
    assert (labels_of(other, x=190, y=90, w=101, h=31) == drawn[90:121, 190:291]).all()
    assert (labels_of(other, step=7) == drawn[::7, ::7]).all()
    state = other.get("/api/images/1").json()
    assert (state["state"], state["has_draft"], state["object_classes"], state["base"]) == (
        "draft",
        True,
        {"1": 1},
        "empty",
    )


def test_a_stale_tab_gets_409_and_can_take_part_again(client: TestClient, project: Project) -> None:
    one, two = np.full((2, 2), 1), np.full((2, 2), 2)
    assert client.post("/api/images/1/strokes", json=stroke("e0.0", 0, 0, one)).status_code == 200
    stale = client.post("/api/images/1/strokes", json=stroke("e0.0", 9, 9, two))
    assert stale.status_code == 409
    assert (stale.json()["edit"], stale.json()["reason"]) == ("e0.1", "changed elsewhere")
    assert labels_of(client)[9, 9] == 0
    assert client.post("/api/images/1/strokes", json=stroke(stale.json()["edit"], 9, 9, two)).status_code == 200
    late = client.post("/api/images/1/versions", json={"edit": "e0.1", "complete": True, "why": "submit"})
    assert late.status_code == 409, "what the tab has not seen is not submitted by it"


def test_versions_are_kept_listed_and_restored(client: TestClient) -> None:
    client.post("/api/images/1/strokes", json=stroke("e0.0", 0, 0, np.full((2, 2), 1)))
    first = client.post("/api/images/1/versions", json={"edit": "e0.1", "complete": True, "why": "submit"})
    assert (first.status_code, first.json()) == (201, {"version": 1, "edit": "v1.0"})
    again = client.post("/api/images/1/versions", json={"edit": "v1.0", "complete": None, "why": "leave"})
    assert (again.status_code, again.json()["version"]) == (200, 1)
    client.post("/api/images/1/strokes", json=stroke("v1.0", 0, 0, np.full((2, 2), 0)))
    restored = client.post("/api/images/1/versions/1/restore", json={"edit": "v1.1"})
    assert restored.json() == {"version": 3, "edit": "v3.0"}
    listed = client.get("/api/images/1/versions").json()["versions"]
    assert [(each["version"], each["source"]) for each in listed] == [
        (3, "restore:1"),
        (2, "page:before-restore"),
        (1, "page:submit"),
    ]
    assert labels_of(client, version=2)[0, 0] == 0
    assert labels_of(client)[0, 0] == 1
    assert client.get("/api/images/1").json()["state"] == "annotated"


def test_an_imported_mask_is_settled(client: TestClient, project: Project) -> None:
    client.post("/api/images/1/strokes", json=stroke("e0.0", 0, 0, np.full((2, 2), 5)))
    project.annotate("a", np.full((HEIGHT, WIDTH), 7), complete=True, source="import")
    conflict = client.post("/api/images/1/strokes", json=stroke("e0.1", 9, 9, np.full((1, 1), 6)))
    assert (conflict.status_code, conflict.json()["reason"]) == (409, "newer version")
    settled = client.post("/api/images/1/resolve", json={"edit": conflict.json()["edit"], "keep": "theirs"})
    assert settled.json() == {"version": 3, "edit": "v3.0"}
    assert labels_of(client)[0, 0] == 7
    assert labels_of(client, version=2)[0, 0] == 5


def test_suggestions_come_with_reasons_and_pictures(client: TestClient, project: Project) -> None:
    project.annotate("b", np.full((HEIGHT, WIDTH), 1), complete=True, source="test")
    number = project.begin_round({}, [project.image("b")]).number
    metrics = {"n_images": 1, "object_dice": 0.5, "object_f1": 0.4, "worst": ["a"], "worst_dice": {"a": 0.5}}
    project.finish_round(number, metrics)
    found = np.zeros((HEIGHT, WIDTH), np.int32)
    found[10:200, 10:300] = 3
    write_label_map(proposal_file(project.folder, number, "a"), found)
    write_label_map(prediction_file(project.folder, number, "a"), found)
    write_image(uncertainty_file(project.folder, number, "a"), np.full((30, 40), 99, np.uint8))
    reason = Reason("a", window=None, uncertainty=0.12, uncertainty_rank=1, represents=0.5, nearest=("b",))
    project.add_suggestions([reason], "suggestive", {}, number)
    queue = client.get("/api/queue").json()
    (first,) = queue["suggestions"]
    assert (queue["ask"], queue["round"], queue["strategy"]) == (1, number, "suggestive")
    assert (first["image"]["name"], first["uncertainty"], first["has_proposal"], first["has_uncertainty"]) == (
        "a",
        0.12,
        True,
        True,
    )
    assert [each["name"] for each in first["nearest"]] == ["b"]
    state = client.get("/api/images/1").json()
    assert (state["base"], state["proposal_round"], state["next_label"]) == ("proposal", number, 4)
    assert (labels_of(client) == found).all()
    assert (labels_of(client, proposal=True) == found).all()
    shown = Pillow.open(io.BytesIO(client.get("/api/images/1/uncertainty").content))
    assert (shown.size, shown.getextrema()) == ((40, 30), (159, 159)), "255 x the root of 99/255"
    shown = np.asarray(Pillow.open(io.BytesIO(client.get(f"/api/images/1/overlay/{number}").content)).convert("RGB"))
    assert (np.abs(shown[100, 9:11].astype(int) - (230, 159, 0)) < 60).all(), "an orange outline at the left edge"
    declined = client.post("/api/images/1/start", json={"edit": state["edit"], "from": "empty"})
    assert declined.json()["edit"] == "e0.0"
    (worst,) = client.get("/api/project").json()["rounds"][0]["worst"]
    assert (worst["image"], worst["object_dice"]) == (1, 0.5)


def test_images_are_uploaded_and_judged(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "empty")
    client = make_client(project)
    assert client.get("/api/project").json()["first_run"]
    assert client.put("/api/project/classes", json={"classes": ["gland", "tumour"]}).json()["classes"] == [
        "gland",
        "tumour",
    ]
    stream = io.BytesIO()
    Pillow.fromarray(picture(1, 40, 50)).save(stream, "PNG")
    good = stream.getvalue()
    assert client.post("/api/uploads?name=x.png", content=good).json() == {
        "added": ["x"],
        "duplicate": False,
    }
    assert client.post("/api/uploads?name=y.png", content=good).json()["duplicate"]
    for name, content in (
        ("z.png", good[:-20]),
        ("z.png", b"hello"),
        ("z.txt", good),
        ("z.png", b""),
        ("con.png", good),
    ):
        refused = client.post("/api/uploads", params={"name": name}, content=content)
        assert refused.status_code == 422, name
        (problem,) = refused.json()["problems"]
        assert problem["where"] == name
        assert str(tmp_path) not in refused.text
        assert "/tmp" not in problem["reason"]
    assert not client.get("/api/project").json()["first_run"]


def test_unusable_images_leave_the_list_and_come_back(client: TestClient) -> None:
    assert (
        client.put("/api/images/1/unusable", json={"reason": "  out of focus "}).json()["unusable_reason"]
        == "out of focus"
    )
    assert client.get("/api/images/1").json()["state"] == "unusable"
    assert client.put("/api/images/1/unusable", json={"reason": "   "}).status_code == 422
    assert client.delete("/api/images/1/unusable").json()["state"] == "todo"


JOBS = {
    "nothing annotated": {"kind": "train", "settings": {}},
    "no round yet": {"kind": "predict", "settings": {"image": 1}},
    "unknown kind": {"kind": "dance"},
    "unknown setting": {"kind": "suggest", "settings": {"command": "rm"}},
    "no images": {"kind": "suggest", "settings": {"k": 0}},
    "too many": {"kind": "suggest", "settings": {"k": 10**9}},
    "a text": {"kind": "suggest", "settings": {"k": "8"}},
    "not a number": {"kind": "suggest", "settings": {"object_diameter_px": "NaN"}},
    "preset": {"kind": "train", "settings": {"preset": "gpu"}},
    "path": {"kind": "train", "settings": {"executor": "/bin/sh"}},
}


@pytest.mark.parametrize("asked", JOBS.values(), ids=JOBS)
def test_impossible_jobs_are_refused(shared: TestClient, asked: dict[str, object]) -> None:
    answer = shared.post("/api/jobs", json=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["problems"]
    assert shared.get("/api/jobs").json() == {"jobs": []}


def test_jobs_wait_in_one_queue_and_are_cancelled(client: TestClient) -> None:
    job = client.post("/api/jobs", json={"kind": "suggest", "settings": {"k": 3}}).json()
    assert (job["status"], job["source"], job["settings"]["k"]) == ("queued", "page", 3)
    assert client.get("/api/jobs").json()["jobs"] == [job]
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
    for _ in range(20):
        assert client.post("/api/jobs", json={"kind": "suggest"}).status_code == 201
    assert client.post("/api/jobs", json={"kind": "suggest"}).status_code == 422, "nobody fills the queue"


def test_proposed_objects_that_are_left(client: TestClient, project: Project) -> None:
    """Whatever part of the image a browser has loaded."""
    assert client.get("/api/images/1/proposed").json() == {"open": []}
    proposed = np.zeros((HEIGHT, WIDTH), np.int32)
    for label in range(1, 5):
        proposed[10:20, 30 * label : 30 * label + 10] = label
    project.begin_round({}, [])
    project.finish_round(0, {"n_images": 0})
    write_label_map(proposal_file(project.folder, 0, "a"), proposed)
    assert client.get("/api/images/1/proposed").json() == {"open": [1, 2, 3, 4]}
    edit = client.get("/api/images/1").json()["edit"]
    gone = client.post("/api/images/1/strokes", json=stroke(edit, 30, 10, np.zeros((10, 10)), accepted=[1, 3]))
    own = stroke(gone.json()["edit"], 300, 300, np.full((5, 5), 5), accepted=[1, 3])
    assert client.post("/api/images/1/strokes", json=own).status_code == 200
    assert client.get("/api/images/1/proposed").json() == {"open": [2, 4]}


def test_a_database_in_use_is_no_refusal(client: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may go well later is answered so that the page tries again."""
    monkeypatch.setattr("frugalseg.project.store.BUSY_S", 0.1)
    with contextlib.closing(sqlite3.connect(project.folder / "project.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/api/images/1/strokes", json=stroke("e0.0", 0, 0, np.full((2, 2), 1)))
        assert answer.status_code == 503
        assert "is in use by another process for too long; try again" in answer.text
        other.execute("ROLLBACK")
    assert client.post("/api/images/1/strokes", json=stroke("e0.0", 0, 0, np.full((2, 2), 1))).status_code == 200


def test_masks_are_no_images_to_annotate(client: TestClient, project: Project) -> None:
    stream = io.BytesIO()
    Pillow.fromarray(picture(1, 40, 50)).save(stream, "PNG")
    refused = client.post("/api/uploads?name=train_1_anno.png", content=stream.getvalue())
    assert refused.status_code == 422
    assert "is named as the mask of an image; 'frugalseg import' takes masks" in refused.text
    assert len(project.images()) == 2


def test_uploads_and_jobs_while_the_database_is_in_use(
    client: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*args: object) -> None:
        raise StorageError("project.sqlite", "is in use by another process for too long; try again")

    stream = io.BytesIO()
    Pillow.fromarray(picture(1, 40, 50)).save(stream, "PNG")
    monkeypatch.setattr(Project, "add_images", busy)
    assert client.post("/api/uploads?name=x.png", content=stream.getvalue()).status_code == 503
    monkeypatch.setattr(JobQueue, "get", busy)
    assert client.post("/api/jobs/1/cancel").status_code == 503
