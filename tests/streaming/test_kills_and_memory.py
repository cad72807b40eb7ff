"""Runs that are killed, and runs that are watched: processes of their own on synthetic slides."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from frugalseg.synthetic import write_synthetic_slide

from .test_run import contents

pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra wsi")
pytest.importorskip("zarr", reason="needs zarr, of the extra wsi")

SCRIPT = Path(__file__).parent / "slide_run.py"
LIMIT = 1400 * 2**20


def start(slide, out, *more, **how):
    return subprocess.Popen([sys.executable, str(SCRIPT), str(slide), str(out), *more], start_new_session=True, **how)


def finish(slide, out, *more):
    process = start(slide, out, *more, stderr=subprocess.PIPE)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told.decode()[-2000:]


@pytest.mark.slow
def test_killed_at_five_random_moments_a_run_ends_with_the_same_bytes(tmp_path):
    slide = tmp_path / "s.svs"
    write_synthetic_slide(slide, 12000, 9000, seed=3, tissue=0.5)
    begun = time.perf_counter()
    finish(slide, tmp_path / "whole")
    seconds = time.perf_counter() - begun
    chance = random.Random(11)
    kills = 0
    while kills < 5:
        process = start(slide, tmp_path / "killed", "resume", stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.15, 0.8) * seconds)
        if process.poll() is None:
            kills += 1
        tree = [process.pid, *(child.pid for child in _children(process.pid))]
        for number in tree:
            try:
                psutil.Process(number).send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        process.wait()
        if (tmp_path / "killed" / "s.summary.json").exists() and kills < 5:  # it was quicker: begin anew
            shutil.rmtree(tmp_path / "killed")
    finish(slide, tmp_path / "killed", "resume")
    assert contents(tmp_path / "killed", "s") == contents(tmp_path / "whole", "s")


def _children(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def peak_of(slide, out):
    """Largest memory of a run and all its processes, bytes; shared pages count once a process."""
    process = start(slide, out, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        total = 0
        for number in [process.pid, *(child.pid for child in _children(process.pid))]:
            try:
                total += psutil.Process(number).memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, total)
        time.sleep(0.05)
    assert process.returncode == 0, process.stderr.read().decode()[-2000:]
    process.stderr.close()
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_slide(tmp_path):
    """Decoded, the large slide is more than the limit; its run stays below, and near to that of a quarter of it."""
    small, large = tmp_path / "small.svs", tmp_path / "large.svs"
    write_synthetic_slide(small, 13000, 10000, seed=3, tissue=0.2)
    write_synthetic_slide(large, 26000, 20000, seed=3, tissue=0.05)
    assert LIMIT < 26000 * 20000 * 3
    least = peak_of(small, tmp_path / "one")
    most = peak_of(large, tmp_path / "two")
    print(f"peaks: {least / 2**20:.0f} and {most / 2**20:.0f} MiB")
    assert most < LIMIT
    assert most < 1.25 * least  # caches of a fixed size fill up


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_DATA"), reason="needs a limit on memory")
def test_a_slide_larger_than_the_limit_is_segmented_below_it(tmp_path):
    slide = tmp_path / "s.svs"
    write_synthetic_slide(slide, 26000, 20000, seed=5, tissue=0.05)

    def limited():
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))

    process = start(slide, tmp_path / "out", stderr=subprocess.PIPE, preexec_fn=limited)
    _, told = process.communicate(timeout=900)
    assert process.returncode == 0, told.decode()[-2000:]
