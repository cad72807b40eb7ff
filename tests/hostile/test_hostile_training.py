"""Training as a process: killed, interrupted, out of disk, twice at once. The weights at the end tell."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train.checkpoint import checkpoints, load_tensors

STEPS = 6
KILLS = 10
SAVE_LOOP_KILLS = 50
FLAGS = ["--net", "lite", "--steps", str(STEPS), "--patch-px", "32", "--batch-size", "2", "--threads", "1",
         "--image-scale", "0.5", "--validate-every", str(STEPS), "--checkpoint-every", "1", "--device", "cpu",
         "--no-pretrained"]  # fmt: skip


@pytest.fixture(scope="module")
def glands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glands")
    write_synthetic_dataset(folder, 2, 0, 1, height=96, width=112)
    return folder


@pytest.fixture(scope="module")
def whole(glands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = subprocess.run(words(glands, out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "frugalseg", "train", str(data), "--out", str(out), *FLAGS, *more]


def weights(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def complaints(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("frugalseg: ")]


def newest_step(run: Path) -> int:
    found = checkpoints(run / "checkpoints")
    return int(found[-1].stem.removeprefix("step-")) if found else -1


def start_and_stop(command: list[str], when: Callable[[], bool], number: int) -> tuple[int, str]:
    """Run a command, send it signal `number` when `when` says so; its exit code and stderr."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and not when() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(number)
        _, text = process.communicate(timeout=120)
    return process.returncode, text


def check_readable(run: Path) -> None:
    """Whatever a kill left: checkpoints and metrics are whole."""
    for path in checkpoints(run / "checkpoints"):
        tensors, document = load_tensors(path)
        assert document["step"] == int(path.stem.removeprefix("step-"))
        assert all(name.split(".")[0] in ("net", "average", "optimiser") for name in tensors)
    if (run / "metrics.jsonl").exists():
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
class TestKill:
    def test_a_killed_run_goes_on_to_the_same_weights(self, glands: Path, whole: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        code, _ = start_and_stop(words(glands, out), lambda: newest_step(out) >= 2, signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert not (out / "model.json").exists()
        check_readable(out)
        done = subprocess.run(words(glands, out, "--resume"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert weights(out) == weights(whole)
        assert not [path for path in out.rglob(".*") if path.is_dir()], "what the dead writer left is gone"

    @pytest.mark.slow
    def test_ten_kills_at_any_moment(self, glands: Path, whole: Path, tmp_path: Path) -> None:
        """From before the first import to after the last step; each process is killed where chance wants it."""
        chance = random.Random(3)
        start = time.monotonic()
        subprocess.run(words(glands, tmp_path / "timed"), check=True, capture_output=True)
        longest = time.monotonic() - start
        kills, reached, out = 0, set(), tmp_path / "run"
        while kills < KILLS:
            command = words(glands, out, *(["--resume"] if (out / "config.json").exists() else []))
            until = time.monotonic() + chance.uniform(0.3, 1.0) * longest
            code, text = start_and_stop(command, lambda until=until: time.monotonic() > until, signal.SIGKILL)
            if code != -signal.SIGKILL:
                assert code == 0, text
                assert weights(out) == weights(whole)
                shutil.rmtree(out)
                continue
            kills += 1
            check_readable(out)
            reached.add(newest_step(out))
        assert len(reached) > 2, "all kills came at the same place; the test shows little"
        command = words(glands, out, *(["--resume"] if (out / "config.json").exists() else []))
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert weights(out) == weights(whole)

    @pytest.mark.slow
    def test_fifty_kills_in_a_save_loop_leave_no_unreadable_checkpoint(self, tmp_path: Path) -> None:
        chance = random.Random(4)
        reached = []
        for _ in range(SAVE_LOOP_KILLS):
            with subprocess.Popen(
                [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "go\n"
                time.sleep(chance.uniform(0.0, 0.15))
                process.kill()
            found = checkpoints(tmp_path)
            assert len(found) <= 3, "two, and one more where the kill came before the oldest was removed"
            for path in found:
                tensors, document = load_tensors(path)
                assert (tensors["net.head.bias"] == document["step"]).all()
            reached.append(max((int(path.stem.removeprefix("step-")) for path in found), default=0))
        assert reached == sorted(reached)
        assert reached[-1] > SAVE_LOOP_KILLS, "hardly anything was saved before the kills; the test shows nothing"


SAVER = """
import sys
from pathlib import Path
import torch
import frugalseg.nets.unet
frugalseg.nets.unet.CHANNELS = (4, 8, 8, 8, 8)
from frugalseg.nets import build_net
from frugalseg.train.checkpoint import Progress, checkpoints, save_checkpoint
from frugalseg.train.config import TrainConfig
from frugalseg.train.optimiser import AveragedNet, build_optimiser

folder = Path(sys.argv[1])
net = build_net("unet")
average, optimiser = AveragedNet(net, 0.9), build_optimiser(net, TrainConfig())
for parameter in net.parameters():
    parameter.grad = torch.zeros_like(parameter)
optimiser.step()
found = checkpoints(folder)
step = int(found[-1].stem.removeprefix("step-")) if found else 0
print("go", flush=True)
while True:
    step += 1
    torch.nn.init.constant_(net.head.bias, step)
    save_checkpoint(folder, net, average, optimiser, Progress(step=step))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_ctrl_c_saves_says_how_to_go_on_and_exits_with_130(glands: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # checkpoints only at the end: what is saved at the interruption is due to it
    more = ["--checkpoint-every", str(STEPS), "--steps", "200", "--validate-every", "200"]
    command = [*words(glands, out), *more]
    code, text = start_and_stop(command, lambda: newest_step(out) >= 0, signal.SIGINT)
    assert code == 130, text
    (line,) = complaints(text)
    assert "of 200 steps; saved; go on with the same command and --resume" in line
    assert "Traceback" not in text
    n_done = int(line.split("interrupted after ")[1].split()[0])
    assert newest_step(out) == n_done
    check_readable(out)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_five_interruptions_end_in_the_same_weights(glands: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for step in range(STEPS - 1):
        command = words(glands, out, *(["--resume"] if step else []))
        before = newest_step(out)  # an interruption counts only once this start has got further
        code, text = start_and_stop(command, lambda before=before: newest_step(out) > before, signal.SIGINT)
        assert code in (0, 130), text
    done = subprocess.run(words(glands, out, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert weights(out) == weights(whole)


@pytest.mark.slow
def test_a_second_training_does_not_disturb_the_first(glands: Path, whole: Path, tmp_path: Path) -> None:
    """``--no-wait`` beside a running training: one line; the first ends as if it had been alone."""
    out = tmp_path / "run"
    with subprocess.Popen(words(glands, out), stderr=subprocess.PIPE, text=True) as first:
        deadline = time.monotonic() + 120
        while newest_step(out) < 0 and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        second = tmp_path / "second"
        begin = time.monotonic()
        done = subprocess.run(words(glands, second, "--no-wait"), capture_output=True, text=True)
        still_running = first.poll() is None
        _, text = first.communicate(timeout=120)
    assert first.returncode == 0, text
    assert weights(out) == weights(whole)
    if not still_running and done.returncode == 0:
        pytest.skip(f"the first training ended within the {time.monotonic() - begin:.0f} s that the second needed")
    assert done.returncode == 1, done.stderr
    (line,) = complaints(done.stderr)
    assert f"process {first.pid}" in line
    assert str(out) in line
    assert not second.exists()


@contextlib.contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs Linux and root")
    folder.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_costs_one_line_and_no_checkpoint(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], narrow: None
) -> None:
    """A third checkpoint does not fit on the disk; the two before are whole, and with room training goes on."""
    flags = [*FLAGS, "--net", "unet"]
    assert main(["train", str(glands), "--out", str(tmp_path / "roomy"), *flags]) == 0
    one = (tmp_path / "roomy" / "checkpoints" / f"step-{STEPS:08d}.safetensors").stat().st_size // 1024
    with small_disk(tmp_path / "disk", int(2.8 * one)) as disk:
        run = disk / "run"
        capsys.readouterr()
        assert main(["train", str(glands), "--out", str(run), *flags]) == 2
        (line,) = complaints(capsys.readouterr().err)
        assert line == f"frugalseg: {run / 'checkpoints' / 'step-00000003.safetensors'}: {os.strerror(errno.ENOSPC)}"
        assert newest_step(run) == 2
        assert len(checkpoints(run / "checkpoints")) == 2
        check_readable(run)
        assert not [path for path in run.rglob(".*") if path.is_dir()]
        shutil.copytree(run, tmp_path / "moved")
    assert main(["train", str(glands), "--out", str(tmp_path / "moved"), "--resume", *flags]) == 0
    assert weights(tmp_path / "moved") == weights(tmp_path / "roomy")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs permission bits, and not to be root")
def test_a_folder_that_may_not_be_written_is_one_line(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert main(["train", str(glands), "--out", str(tmp_path / "locked" / "run"), *FLAGS]) == 2
    (line,) = complaints(capsys.readouterr().err)
    assert os.strerror(errno.EACCES) in line


def test_checkpoints_are_never_unpickled(tmp_path: Path) -> None:
    """A pickle that would run a command when loaded, under a checkpoint's name: refused, and nothing runs."""
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {trap}",)

    path = tmp_path / "step-00000001.safetensors"
    torch.save({"net": Trap()}, path)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_tensors(path)
    assert not trap.exists()
