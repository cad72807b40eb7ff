"""Reader processes: killed, crashed, stuck, starved; the parent goes on, and says which file it was."""

from __future__ import annotations

import gzip
import lzma
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np
import psutil
import pytest
import tifffile
import zarr
import zstandard

from frugalseg.errors import InputError
from frugalseg.slides import ReaderProcess, is_slide, open_slide

from .builders import picture, whole, write_zarr

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are kept to on Linux")


@pytest.fixture
def slide_file(tmp_path: Path) -> Path:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture(500, 700), photometric="rgb", tile=(128, 128), compression="zlib")
    return path


@posix
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGBUS", "SIGABRT"])
def test_a_process_that_dies_between_reads_is_replaced(slide_file: Path, name: str) -> None:
    with ReaderProcess() as reader, reader.open(slide_file) as slide:
        before = whole(slide)
        first = reader.pid
        assert first is not None
        os.kill(first, getattr(signal, name))
        assert np.array_equal(whole(slide), before)
        assert reader.pid != first


@posix
def test_a_file_that_kills_every_process_costs_itself_alone(slide_file: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.tif"
    good.write_bytes(slide_file.read_bytes())
    killed: set[int] = set()
    with ReaderProcess() as reader:
        slide, other = reader.open(slide_file), reader.open(good)
        expected = whole(other)
        done = threading.Event()

        def kill_all() -> None:
            while not done.is_set():
                pid = reader.pid
                if pid is not None and pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGSEGV)
                time.sleep(0.001)

        killer = threading.Thread(target=kill_all)
        killer.start()
        try:
            with pytest.raises(
                InputError, match=r"slide\.tif: cannot be decoded: its reader process died twice .*Segm"
            ):
                whole(slide)
        finally:
            done.set()
            killer.join()
        assert len(killed) == 2  # replaced once, no more
        assert np.array_equal(whole(other), expected)
        assert np.array_equal(whole(slide), expected)


@posix
def test_a_process_that_hangs_is_ended(slide_file: Path) -> None:
    with ReaderProcess(time_limit_s=1.0) as reader, reader.open(slide_file) as slide:
        before = whole(slide)
        first = reader.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(InputError, match=r"slide\.tif: was not decoded within 1 s"):
            whole(slide)
        assert 0.9 < time.monotonic() - started < 10
        assert not psutil.pid_exists(first)
        assert np.array_equal(whole(slide), before)


@posix
def test_an_answer_that_nobody_waited_for_is_not_taken_for_another(slide_file: Path) -> None:
    with ReaderProcess() as reader, reader.open(slide_file) as slide:
        left, right = slide.read_region(0, 0, 0, 50, 50), slide.read_region(0, 300, 200, 50, 50)
        assert reader.pid is not None
        os.kill(reader.pid, signal.SIGSTOP)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                slide.read_region(0, 0, 0, 50, 50)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert np.array_equal(slide.read_region(0, 300, 200, 50, 50), right)
        assert np.array_equal(slide.read_region(0, 0, 0, 50, 50), left)


@posix
def test_opening_what_never_answers(tmp_path: Path, slide_file: Path) -> None:
    pipe = tmp_path / "pipe.svs"
    os.mkfifo(pipe)
    assert not is_slide(pipe)
    os.mkfifo(tmp_path / "pipe.tif")
    assert not is_slide(tmp_path / "pipe.tif")
    with ReaderProcess(time_limit_s=1.0) as reader:
        with reader.open(slide_file):  # started, so that only the time limit counts
            pass
        with pytest.raises(InputError, match=r"pipe\.svs: was not decoded within 1 s"):
            reader.open(pipe)
        with reader.open(slide_file) as slide:
            assert whole(slide).shape == (500, 700, 3)


def test_errors_cross_with_the_names_that_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.svs").write_text("no slide")
    write_zarr(Path("x.zarr"), [picture(64, 64)[..., 0]], "yx")
    (Path("x.zarr") / "0" / "zarr.json").write_text("{")
    with pytest.raises(InputError) as caught:
        open_slide(Path("text.svs"))
    assert str(caught.value) == "text.svs: is no slide that OpenSlide knows"
    with pytest.raises(InputError) as caught:
        open_slide(Path("x.zarr"))
    assert str(caught.value) == f"{Path('x.zarr') / '0' / 'zarr.json'}: is damaged: no JSON"
    with pytest.raises(InputError, match=r"^missing\.svs: cannot be read"):
        open_slide(Path("missing.svs"))


def chunk_of(folder: Path, version: str, compressor: Any) -> Path:
    """The one chunk, of 64 x 64 bytes, of an OME-Zarr."""
    options = {"compressor": compressor} if version == "0.4" else {"compressors": [compressor]}
    write_zarr(folder, [np.ones((64, 64), dtype=np.uint8)], "yx", version=version, **options)
    return next(path for path in (folder / "0").rglob("*") if path.is_file() and path.name[0] not in ".z")


def zarr_bomb(folder: Path, kind: str) -> Path:
    """64 to 400 MiB of zeros as a chunk of 4 KiB."""
    zeros = bytes(64 * 2**20)
    if kind == "gzip":
        chunk_of(folder, "0.5", zarr.codecs.GzipCodec()).write_bytes(gzip.compress(zeros))
    elif kind == "zlib":
        chunk_of(folder, "0.4", numcodecs.Zlib()).write_bytes(zlib.compress(zeros, 9))
    elif kind == "zlib, large":
        chunk_of(folder, "0.4", numcodecs.Zlib()).write_bytes(zlib.compress(zeros * 6))
    elif kind == "zstd":
        chunk_of(folder, "0.5", zarr.codecs.ZstdCodec()).write_bytes(zstandard.compress(zeros * 6))
    elif kind == "zstd, size not told":
        packer = zstandard.ZstdCompressor(write_content_size=False)
        chunk_of(folder, "0.4", numcodecs.Zstd()).write_bytes(packer.compress(zeros * 6))
    elif kind == "blosc":
        chunk_of(folder, "0.4", numcodecs.Blosc()).write_bytes(numcodecs.Blosc("zstd", clevel=9).encode(zeros * 6))
    elif kind == "lz4":
        chunk_of(folder, "0.4", numcodecs.LZ4()).write_bytes(numcodecs.LZ4().encode(zeros))
    return folder


def tiff_bomb(path: Path, kind: str) -> Path:
    """A tile of 64 pixels that would be 8192."""
    zeros = np.zeros((8192, 8192, 3), dtype=np.uint8)
    options: dict[str, Any]
    if kind == "jpeg":
        content, options = imagecodecs.jpeg8_encode(zeros), {"photometric": "ycbcr", "compression": "jpeg"}
    elif kind == "jpeg 2000":
        content = imagecodecs.jpeg2k_encode(zeros[:2048, :2048])
        options = {"photometric": "rgb", "compression": 34712}
    else:
        packers = {"zlib": zlib.compress, "zstd": zstandard.compress, "lzma": lzma.compress}
        content, options = packers[kind](zeros[:4096].tobytes()), {"photometric": "rgb", "compression": kind}
    with tifffile.TiffWriter(path) as writer:
        writer.write(iter([content]), shape=(64, 64, 3), dtype="uint8", tile=(64, 64), **options)
    return path


ZARR_BOMBS = ["gzip", "zlib", "zlib, large", "zstd", "zstd, size not told", "blosc", "lz4"]
TIFF_BOMBS = ["jpeg", "jpeg 2000", "zlib", "zstd", "lzma"]


@pytest.mark.parametrize("bomb", [f"{kind}.zarr" for kind in ZARR_BOMBS] + [f"{kind}.tif" for kind in TIFF_BOMBS])
def test_decoding_bombs_take_no_memory_anywhere(tmp_path: Path, bomb: str, one_reader: ReaderProcess) -> None:
    """Refused (or, where a decoder stops at the tile's size, read) in 64 MiB by both processes together."""
    kind, _, form = bomb.rpartition(".")
    path = zarr_bomb(tmp_path / bomb, kind) if form == "zarr" else tiff_bomb(tmp_path / bomb, kind)
    before = Peak.now()
    with Peak() as peak:
        try:
            whole(one_reader.open(path))
            refused = ""
        except InputError as error:
            refused = str(error)
    assert bomb in refused or (not refused and form == "tif" and kind in ("zlib", "zstd", "lzma"))
    assert peak.own - before[0] < 32 * 2**20
    assert peak.others - before[1] < 64 * 2**20


@pytest.fixture(scope="module")
def one_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReaderProcess]:
    """A process that has read something of every kind."""
    folder = tmp_path_factory.mktemp("warm")
    tifffile.imwrite(folder / "x.tif", picture(64, 64), photometric="rgb", tile=(64, 64), compression="zlib")
    write_zarr(folder / "x.zarr", [np.moveaxis(picture(64, 64), -1, 0)])
    with ReaderProcess() as reader:
        for name in ("x.tif", "x.zarr"):
            with reader.open(folder / name) as slide:
                whole(slide)
        yield reader


@linux
def test_what_needs_more_memory_than_there_is(tmp_path: Path, slide_file: Path) -> None:
    """An honest tile of 192 MB, a reader process that has 64 MiB."""
    path = tmp_path / "large.tif"
    content = zlib.compress(bytes(8192 * 7808 * 3), 1)
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"photometric": "rgb", "compression": "zlib"}
        writer.write(iter([content]), shape=(7808, 8192, 3), dtype="uint8", tile=(7808, 8192), **options)
    with ReaderProcess(memory_bytes=64 * 2**20) as reader:
        slide = reader.open(path)
        for _ in range(2):
            with pytest.raises(InputError, match=r"large\.tif: needs more memory to decode"):
                slide.read_region(0, 0, 0, 10, 10)
        with reader.open(slide_file) as other:
            assert whole(other).shape == (500, 700, 3)
    with open_slide(path) as slide:
        assert not slide.read_region(0, 0, 0, 10, 10).any()


class Peak:
    """Largest memory of this process and of those that it started, while a block runs."""

    @staticmethod
    def now() -> tuple[int, int]:
        children = psutil.Process().children()
        return psutil.Process().memory_info().rss, max((child.memory_info().rss for child in children), default=0)

    def __enter__(self) -> Peak:
        self.own = self.others = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._done.wait(0.005):
            self.own = max(self.own, me.memory_info().rss)
            for child in me.children():
                try:
                    self.others = max(self.others, child.memory_info().rss)
                except psutil.Error:
                    continue


def test_the_largest_region_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    with tifffile.TiffWriter(path) as writer:  # 8192 x 7808 of one grey, each tile stored
        tile = zlib.compress(np.full((1024, 1024, 3), 99, dtype=np.uint8).tobytes())
        shape = (7808, 8192, 3)
        writer.write(
            iter([tile] * 64), shape=shape, dtype="uint8", tile=(1024, 1024), photometric="rgb", compression="zlib"
        )
    with open_slide(path) as slide:
        slide.read_region(0, 0, 0, 100, 100)
        before = psutil.Process().memory_info().rss
        region = whole(slide)
        assert (region == 99).all()
        del region
        assert psutil.Process().memory_info().rss - before < 48 * 2**20


def test_threads_take_turns(slide_file: Path) -> None:
    with open_slide(slide_file) as slide:
        expected = whole(slide)
        boxes = [(x, y, 90, 80) for x in range(0, 600, 100) for y in range(0, 400, 100)]
        with ThreadPoolExecutor(4) as pool:
            regions = list(pool.map(lambda box: slide.read_region(0, *box), boxes))
        for (x, y, width, height), region in zip(boxes, regions, strict=True):
            assert np.array_equal(region, expected[y : y + height, x : x + width])


def test_closing_ends_the_process(slide_file: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    slide = open_slide(slide_file)
    started = {child.pid for child in psutil.Process().children()} - before
    assert len(started) == 1
    slide.close()
    slide.close()
    assert not any(psutil.pid_exists(pid) for pid in started)
    with pytest.raises(ValueError, match="closed"):
        whole(slide)


def test_a_changed_file_is_noticed(slide_file: Path) -> None:
    with ReaderProcess() as reader, reader.open(slide_file) as slide:
        whole(slide)
        tifffile.imwrite(slide_file, picture(300, 200), photometric="rgb", tile=(128, 128))
        assert reader.pid is not None
        psutil.Process(reader.pid).kill()
        with pytest.raises(InputError, match="was changed while it was read"):
            whole(slide)


def test_no_process_stays_when_its_parent_is_killed(slide_file: Path) -> None:
    program = f"""
from pathlib import Path
from frugalseg.slides import open_slide
slide = open_slide(Path({str(slide_file)!r}))
print(slide.reader.pid, flush=True)
input()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    child.wait(10)


def in_a_daemon(path: str) -> int:
    with open_slide(Path(path)) as slide:
        return int(whole(slide).sum())


def test_daemons_and_interpreters_of_other_kinds_may_read(slide_file: Path) -> None:
    """Processes of a pool may start none by `multiprocessing`; readers are no such processes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(in_a_daemon, (str(slide_file),)) == int(picture(500, 700).sum())
