"""Cellpose's files: as NumPy writes them in any protocol, and as nobody should; nothing in them is ever run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frugalseg.errors import InputError
from frugalseg.formats import FORMATS, Annotated, AnnotationSet, WriteSettings
from frugalseg.formats.pickled import Array, PickleError, read_pickle
from frugalseg.synthetic import synthetic_glands

from .builders import RING, Labels, canvas_of, one, read

HEAD = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"


def saved(document: object, protocol: int) -> bytes:
    """What np.save writes for a dictionary, with a protocol of our choice."""
    wrapped = np.empty((), dtype=object)
    wrapped[()] = document
    return HEAD + pickle.dumps(wrapped, protocol=protocol)


def like_cellpose(masks: object) -> dict[str, Any]:
    """A dictionary with everything that Cellpose and its window put into a file."""
    return {
        "outlines": np.zeros((3, 4), np.uint16),
        "masks": masks,
        "chan_choose": [0, 0],
        "ismanual": np.zeros(3, bool),
        "filename": "/data/größe.png",
        "flows": [np.zeros((1, 3, 4, 3), np.uint8), [], np.ones((3, 4), np.float32), [np.float64(2.5), None]],
        "diameter": np.nan,
        "est_diam": np.float32(30),
        "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0], "norm3D": True, "tile_norm": 0},
        "colors": np.ones((3, 3), np.uint8),
        "manual_changes": [[0, {"x": (1, 2)}]],
        "current_channel": 10**12,
        "names": np.array(["a", "bc"]),
        "zdraw": [None] * 3,
        "model": b"cyto" * 100,
    }


def put(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "x_seg.npy").write_bytes(content)
    return folder


def refused(folder: Path, content: bytes, labels: Labels = RING) -> str:
    """The one line in which a file is refused."""
    with pytest.raises(InputError) as caught:
        read("cellpose", put(folder, content), canvas_of(labels))
    (problem,) = caught.value.problems
    assert problem.where.endswith("x_seg.npy")
    assert "\n" not in problem.reason
    assert len(problem.reason) < 300
    return problem.reason


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4", "u4", "i8", "?"])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "3d", "readonly"])
def test_masks_of_every_kind(protocol: int, dtype: str, layout: str, tmp_path: Path) -> None:
    masks = RING.astype(dtype)
    expected = masks.astype(np.int32)
    if layout == "F":
        masks = np.asfortranarray(masks)
    elif layout == "strided":
        masks = np.repeat(masks, 2, axis=1)[:, ::2]
    elif layout == "3d":
        masks = masks[None].transpose(1, 0, 2).swapaxes(0, 1)
    elif layout == "readonly":
        masks.setflags(write=False)
    (found,) = read("cellpose", put(tmp_path, saved(like_cellpose(masks), protocol)), canvas_of(RING))
    np.testing.assert_array_equal(found.labels, expected)
    assert (found.classes, found.window, found.complete) == ({}, None, None)


def test_what_numpy_itself_saves(tmp_path: Path) -> None:
    np.save(tmp_path / "x_seg.npy", like_cellpose(RING), allow_pickle=True)  # type: ignore[arg-type]
    (found,) = read("cellpose", tmp_path, canvas_of(RING))
    np.testing.assert_array_equal(found.labels, RING)


def test_names_of_older_numpy(tmp_path: Path) -> None:
    content = saved(like_cellpose(RING.astype(np.uint16)), 3).replace(b"numpy._core.", b"numpy.core.")
    (found,) = read("cellpose", put(tmp_path, content), canvas_of(RING))
    np.testing.assert_array_equal(found.labels, RING)


@pytest.mark.parametrize("top", [200, 65534, 70000])
def test_what_is_written_opens_as_cellpose_opens_it(top: int, tmp_path: Path) -> None:
    labels = synthetic_glands(0, height=60, width=80, kind="benign").labels
    labels[30:40, 30:40] = top
    labels[:3] = -1
    done = FORMATS["cellpose"].write(tmp_path / "out", one(labels), WriteSettings())
    assert [note.split(" ")[0] for note in done.notes] == ["Cellpose", "Cellpose"]
    theirs = np.load(tmp_path / "out" / "x_seg.npy", allow_pickle=True).item()
    np.testing.assert_array_equal(theirs["masks"], np.maximum(labels, 0))
    assert theirs["masks"].dtype == (np.uint16 if top < 65535 else np.uint32)
    assert theirs["filename"] == "x.png"
    assert len(theirs["ismanual"]) == theirs["masks"].max()
    outlines = theirs["outlines"]
    assert set(np.unique(outlines)) == set(np.unique(theirs["masks"]))
    assert ((outlines == 0) | (outlines == theirs["masks"])).all()
    (back,) = read("cellpose", tmp_path / "out", canvas_of(labels))
    np.testing.assert_array_equal(back.labels, np.maximum(labels, 0))


class Payload:
    """What an attacker puts into a file."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch pwned",)),
        (eval, ("open('pwned', 'w')",)),
        (exec, ("open('pwned', 'w')",)),
        (subprocess.Popen, (["touch", "pwned"],)),
        (Path, ("x",)),
        (np.load, ("other.npy",)),
        (getattr, (os, "system")),
        (bytearray, (10**9,)),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_nothing_is_called(
    function: Callable[..., Any], arguments: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if function is getattr:
        arguments = ("text", "upper")
    payload = Payload(function, *arguments)
    for document in (payload, {"masks": payload}, {"masks": RING, "flows": [payload]}):
        reason = refused(tmp_path / "in", saved(document, protocol))
        assert "which is no data" in reason or "which data does not need" in reason
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "in" / "pwned").exists()


@pytest.mark.parametrize(
    ("instructions", "reason"),
    [
        (b"cos\nsystem\n(S'touch pwned'\ntR.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.", "os.system"),
        (b"\x80\x02cnumpy\nndarray\n(K\x00tR.", "calls numpy.ndarray"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"\x80\x02(cnumpy\ndtype\no.", "OBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02Ppersistent\n.", "PERSID"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02Nb.", "damaged"),
        (b"\x80\x02].", "is not what Cellpose saves"),
        (b"\x80\x02}.", "is not what Cellpose saves"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02e.", "damaged"),
        (b"\x80\x02R.", "damaged"),
        (b"\x80\x02((((.", "damaged"),
        (b"\x80\x02K\x01K\x02.", "damaged"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.", "damaged"),
        (b"\x80\x02B\xff\xff\xff\x7fx.", "damaged"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fx.", "damaged"),
        (b"\x80\x02" + b"]" * 200 + b"a" * 199 + b".", "nested more than 100 deep"),
        (b"\x80\x02N" + b"\x85" * 100_000 + b".", "nested more than 100 deep"),
        (b"\x80\x02" + b"N" * 200_000 + b".", "values waiting"),
        (b"\x80\x02" + b"(" * 200_000 + b".", "values waiting"),
        (b"\x80\x02}N" + b"\x85" * 50 + b"Ns.", "keys are no plain values"),
        (b"\xff" * 100, "damaged"),
        (b"", "damaged"),
    ],
)
def test_instructions_that_data_does_not_need(instructions: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(tmp_path, HEAD + instructions)


def test_bombs_are_refused_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frugalseg.formats.pickled.MAX_OPCODES", 100_000)
    text = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20
    bombs = {
        "instructions": b"\x80\x02]r\x00\x00\x00\x00" + b"h\x00a" * 60_000 + b".",
        "more bytes than it has": b"\x80\x02"
        + text
        + b"q\x00"
        + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 900,
        "100,000": b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", 7 * n) for n in range(110_000)),
    }
    for reason, content in bombs.items():
        tracemalloc.start()
        assert reason in refused(tmp_path, HEAD + content)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (b"\x8c\x01x\x93.", "by what is no name"),
        (b"\x86cnumpy\ndtype\n\x8c\x02u1\x85Rb.", "calls"),
        (b"0cnumpy\ndtype\n(h\x1etR.", "a type without a name"),
    ],
)
def test_lists_of_lists_are_never_written_out(last: bytes, reason: str, tmp_path: Path) -> None:
    """Thirty lists, each ten times the one before: as text they would fill every memory."""
    lists = b"]\x94" + b"".join(b"](" + bytes([ord("h"), n]) * 10 + b"e\x94" for n in range(30))
    assert refused(tmp_path, HEAD + b"\x80\x04" + lists + last)


def test_a_side_of_five_thousand_digits(tmp_path: Path) -> None:
    side = 10**5000
    content = saved(like_cellpose(RING.astype(np.uint16)), 2)
    shape = pickle.dumps((6, 6), protocol=2)[2:-1].replace(b"q\x00", b"")
    huge = pickle.dumps((side, 6), protocol=2)[2:-1].replace(b"q\x00", b"")
    assert content.count(shape) >= 1
    assert "impossible shape" in refused(tmp_path, content.replace(shape, huge))


def test_images_with_two_endings(tmp_path: Path) -> None:
    """Cellpose takes one ending off: ``x.ome_seg.npy`` belongs to ``x.ome.tif``."""
    canvas = dataclasses.replace(canvas_of(RING), path=Path("images/x.ome.tif"))
    drawn = AnnotationSet([canvas], lambda each: Annotated(each, RING, {}))
    FORMATS["cellpose"].write(tmp_path / "out", drawn, WriteSettings())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.ome_seg.npy"]
    (found,) = read("cellpose", tmp_path / "out", canvas)
    np.testing.assert_array_equal(found.labels, RING)


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        (None, "has no masks"),
        ([[1, 2]], "has no masks"),
        (np.zeros((5, 6), np.uint16), "6 x 5"),
        (np.zeros((2, 6, 6), np.uint16), "has masks of"),
        (np.zeros((6, 6), np.float32), "integers are needed"),
        (np.full((6, 6), -1, np.int16), "labels from -1"),
        (np.full((6, 6), 2**40, np.int64), "labels from 0"),
        (np.full((6, 6), "a"), "holds no numbers"),
        (np.full((6, 6), None), "holds no numbers"),
        (np.zeros((6, 6), np.complex64), "holds no numbers"),
    ],
)
def test_masks_that_are_none(masks: Any, reason: str, tmp_path: Path) -> None:
    for protocol in (2, 3, 4, 5):
        assert reason in refused(tmp_path, saved({"masks": masks}, protocol))


def test_a_shape_that_promises_more_than_there_is(tmp_path: Path) -> None:
    content = saved({"masks": np.zeros((6, 6), np.uint16)}, 3)
    assert "its shape takes" in refused(
        tmp_path, content.replace(b"K\x06K\x06", b"K\x06K\x07"), np.zeros((6, 7), np.int32)
    )
    huge = content.replace(b"K\x06K\x06", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f")
    assert "has masks of" in refused(tmp_path, huge)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path, b"")
    assert "no NumPy file" in refused(tmp_path, b"no")
    assert "no NumPy file" in refused(tmp_path, HEAD[:60])
    assert "no NumPy file" in refused(tmp_path, HEAD[:10] + b"(" * 116 + b"\n")
    assert "no NumPy file" in refused(tmp_path, b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}")
    plain = io.BytesIO()
    np.save(plain, RING)
    assert "is an array" in refused(tmp_path, plain.getvalue())
    assert "something follows" in refused(tmp_path, saved(like_cellpose(RING), 4) + b"more")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no Cellpose files"):
        read("cellpose", tmp_path / "empty", canvas_of(RING))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cut_off_anywhere(protocol: int) -> None:
    content = saved({"masks": RING.astype(np.uint16), "flows": [[], np.float64(1)], "diameter": 1.5}, protocol)
    whole = content[len(HEAD) :]
    assert isinstance(read_pickle(io.BytesIO(whole), len(whole)), Array)
    for end in range(len(whole)):
        with pytest.raises(PickleError):
            read_pickle(io.BytesIO(whole[:end]), end)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_bytes_are_read_or_refused(data: st.DataObject) -> None:
    protocol = data.draw(st.sampled_from([2, 4, 5]))
    content = bytearray(saved(like_cellpose(RING), protocol)[len(HEAD) :])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_pickle(io.BytesIO(content), len(content))
        if isinstance(found, Array) and isinstance(found.content, list) and isinstance(found.content[0], dict):
            masks = found.content[0].get("masks")
            if isinstance(masks, Array):
                masks.decode()
    except PickleError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_noise_is_refused(content: bytes) -> None:
    with contextlib.suppress(PickleError):
        read_pickle(io.BytesIO(b"\x80\x04" + content), len(content))


def test_pythons_unpickler_is_never_asked(tmp_path: Path) -> None:
    script = (
        "import sys, pickle\n"
        "def never(*_, **__): raise SystemExit('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = never\n"
        "from pathlib import Path\n"
        "from frugalseg.formats import FORMATS, Canvas, Wanted\n"
        "canvas = Canvas('x', Path('x.png'), 6, 6)\n"
        "print(FORMATS['cellpose'].read(Path(sys.argv[1]), Wanted({'x': canvas})).load(canvas).labels.max())\n"
    )
    put(tmp_path, saved(like_cellpose(RING), 4))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("3", 0), done.stderr
