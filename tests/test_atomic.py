"""Files are wholly there or not at all: after errors, after kills, on a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from frugalseg.atomic import atomic_path, write_bytes, write_json, write_text

KILLS = 50


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


def test_written_whole_with_folders_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "x.txt", "Drüse\n")
    assert (tmp_path / "a" / "b" / "x.txt").read_bytes() == "Drüse\n".encode()
    assert leftovers(tmp_path / "a" / "b") == []


def test_error_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError, match="half way"), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"{")
        raise RuntimeError("half way")
    assert json.loads(target.read_text()) == {"old": 1}
    assert leftovers(tmp_path) == []


def test_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_temporary_file_keeps_the_name_and_what_a_writer_leaves_beside_it_goes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "picture.tar.png") as temporary:
        assert temporary.name == "picture.tar.png"
        temporary.write_bytes(b"x")
        temporary.with_suffix(".aux").write_bytes(b"y")
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.tar.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_permissions_are_those_of_an_ordinary_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_errors_name_the_file_asked_for(tmp_path: Path) -> None:
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which OSError depends on the system
        write_bytes(tmp_path / "folder", b"x")
    assert caught.value.filename == str(tmp_path / "folder")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError) as caught:  # noqa: PT011
        write_bytes(tmp_path / "file" / "x", b"x")
    assert caught.value.filename == str(tmp_path / "file")
    assert leftovers(tmp_path) == []


SAVER = """
import sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save, save_file
from frugalseg.atomic import atomic_path, write_bytes, write_json

folder = Path(sys.argv[1])
print("go", flush=True)
step = 0
while True:
    step += 1
    write_json(folder / "state.json", {"step": step, "padding": ["x" * 100] * 300})
    tensors = {"w": np.full((128, 256), step, dtype=np.float32)}
    with atomic_path(folder / "last.safetensors") as temporary:
        save_file(tensors, temporary)  # makes a temporary file of its own
    write_bytes(folder / "copy.safetensors", save(tensors))
"""


def check_all_readable(folder: Path) -> int:
    """Read whatever is there, wholly; the step reached."""
    reached = 0
    for name in ("last.safetensors", "copy.safetensors"):
        if (folder / name).exists():
            weights = load_file(folder / name)["w"]
            assert weights.shape == (128, 256)
            assert (weights == weights[0, 0]).all()
            reached = int(weights[0, 0])
    if (folder / "state.json").exists():
        state = json.loads((folder / "state.json").read_text())
        assert len(state["padding"]) == 300
        reached = max(reached, state["step"])
    return reached


def test_fifty_kills_in_a_save_loop_leave_no_unreadable_file(tmp_path: Path) -> None:
    chance = random.Random(1)
    reached, most_leftovers = 0, 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(chance.uniform(0.0, 0.06))
            process.kill()
        reached += check_all_readable(tmp_path)
        most_leftovers = max(most_leftovers, len(leftovers(tmp_path)))
    assert reached > KILLS, "the loop hardly saved anything before it was killed; the test shows nothing"
    assert most_leftovers == 1, "a killed writer leaves one folder at most, and the next one's first write removes it"
    subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from frugalseg.atomic import write_text;"
         "write_text(Path(sys.argv[1]) / 'end.txt', 'end')", str(tmp_path)],
        check=True,
    )  # fmt: skip
    assert leftovers(tmp_path) == []


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from frugalseg.atomic import atomic_path, write_text
        with atomic_path(Path(sys.argv[1]) / "slow.bin"):
            print("open", flush=True)
            sys.stdin.readline()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        elsewhere, old = (
            tmp_path / ".frugalseg-00000000-1-aa-x",
            tmp_path / ".frugalseg-00000000-1-aa-y",
        )
        odd = tmp_path / ".frugalseg-odd"
        for file in (elsewhere, old, odd):
            file.mkdir()
            (file / "slow.bin").write_bytes(b"half")
        os.utime(old, (0, 0))
        write_text(tmp_path / "fast.txt", "done")
        assert len(leftovers(tmp_path)) == 3
        assert not old.exists(), "untouched for a day: abandoned on whatever machine"
        process.communicate("\n")
    assert (tmp_path / "slow.bin").exists()
    assert sorted(leftovers(tmp_path)) == sorted([elsewhere.name, odd.name])


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs Linux and root")
    folder.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(200_000)
    with small_disk(tmp_path / "disk") as disk:
        write_bytes(disk / "x.bin", noise[:100_000])
        with pytest.raises(OSError, match="No space left") as caught:
            write_bytes(disk / "x.bin", noise)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(disk / "x.bin")
        assert (disk / "x.bin").read_bytes() == noise[:100_000]
        assert leftovers(disk) == []


def test_full_disk_is_one_line_of_the_command_line(tmp_path: Path) -> None:
    """Through the real ``main``: the predictions of a command that writes to a full disk."""
    with small_disk(tmp_path / "disk") as disk:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        done = subprocess.run(
            [sys.executable, "-m", "frugalseg", "demo", "--out", str(disk / "demo")], capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr.splitlines()[-1]
        assert done.stderr.splitlines()[-1].startswith(f"frugalseg: {disk}")
        assert [file for file in disk.rglob("*") if file.is_file()] == [disk / "filler"]
