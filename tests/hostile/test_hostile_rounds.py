"""Rounds of a project as processes: killed at any moment, on a cluster that loses a node, asked again and again.

What is suggested at the end tells: it follows from every weight of every member.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from annotated_projects import annotated_project

from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.executors import open_executor
from frugalseg.model_files import CARD
from frugalseg.project import Project
from frugalseg.project.round_files import round_folder
from frugalseg.rounds.suggesting import Request, suggest_round
from frugalseg.rounds.training import MEMBERS, train_round
from frugalseg.synthetic.slides import write_synthetic_slide
from frugalseg.train.config import TrainConfig

pytestmark = pytest.mark.slow

N_ANSWERS, N_REPEATS = 20, 3
TRAIN_KILLS, SUGGEST_KILLS, SLIDE_KILLS = 15, 5, 5
TINY = TrainConfig(
    net="lite", steps=4, patch_px=32, batch_size=2, threads=1, precision="fp32", validate_every=4, seed=1, device="cpu",
    checkpoint_every=1, pretrained=False, min_confidence=0.0,
)  # fmt: skip
MEMBERS_KILLED = EnsembleConfig(members=2, quantize_steps=4)
FLAGS = ["--net", "lite", "--steps", "4", "--patch-px", "32", "--batch-size", "2", "--threads", "1", "--precision",
         "fp32", "--validate-every", "4", "--checkpoint-every", "1", "--seed", "1", "--device", "cpu",
         "--no-pretrained", "--min-confidence", "0", "--members", "2", "--quantize-steps", "4",
         "--workers", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of eight images: three annotated, two for validation annotated, three to choose from."""
    return annotated_project(tmp_path_factory.mktemp("project"), 3)


def copy(project: Path, to: Path) -> Path:
    return Path(shutil.copytree(project, to))


def answers(folder: Path) -> list[tuple[str, float | None, float | None]]:
    """What is suggested now, every number to the last bit."""
    answer = suggest_round(Project.open(folder), Request(k=3))
    return [(pick.name, pick.uncertainty, pick.similarity) for pick in answer.suggestions]


def test_the_same_seed_gives_the_same_suggestions(annotated: Path, tmp_path: Path, narrow: None) -> None:
    """One trained round asked twenty times, and three rounds from scratch."""
    config = dataclasses.replace(TINY, net="unet")
    given = []
    for repeat in range(N_REPEATS):
        folder = copy(annotated, tmp_path / str(repeat))
        train_round(Project.open(folder), config, MEMBERS_KILLED, open_executor("serial"))
        given += [answers(folder) for _ in range(N_ANSWERS if repeat == 0 else 1)]
    assert len(given[0]) == 3
    assert len({uncertainty for _, uncertainty, _ in given[0]}) == 3
    assert all(each == given[0] for each in given), "twenty out of twenty, and each repetition"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative for a signal) and what it said."""

    code: int
    out: str
    told: str


def command(folder: Path, what: str) -> list[str]:
    flags = FLAGS if what == "train" else ["-k", "3", "--json"]
    return [sys.executable, "-m", "frugalseg", what, str(folder), *flags]


def start(folder: Path, what: str, kill_after: float | None = None) -> Ended:
    """Run a command; kill it with all its processes after so many seconds."""
    with subprocess.Popen(
        command(folder, what), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, told = process.communicate(timeout=kill_after or 300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, told = process.communicate()
    return Ended(process.returncode, out, told)


def suggested(ended: Ended) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.told
    return list(json.loads(ended.out)["suggestions"])


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_twenty_kills_change_no_suggestion(annotated: Path, tmp_path: Path) -> None:
    """``train`` and ``suggest``, killed from before the first import to after the last step, end in the same answer."""
    chance = random.Random(5)
    whole = copy(annotated, tmp_path / "whole")
    seconds = {}
    for what in ("train", "suggest"):
        began = time.monotonic()
        ended = start(whole, what)
        assert ended.code == 0, ended.told
        seconds[what] = time.monotonic() - began
    expected = suggested(ended)
    assert len({each["uncertainty"] for each in expected}) == 3

    moments = {
        what: [(place + chance.random()) / n * seconds[what] for place in range(n)]
        for what, n in (("train", TRAIN_KILLS), ("suggest", SUGGEST_KILLS))
    }
    for each in moments.values():
        chance.shuffle(each)
    left_behind: set[tuple[str, ...]] = set()
    n_kills = n_finished = 0
    while any(moments.values()):
        folder = copy(annotated, tmp_path / f"killed-{n_finished}")
        for what in ("train", "suggest"):
            while True:
                ended = start(folder, what, moments[what].pop() if moments[what] else None)
                if ended.code != -signal.SIGKILL:
                    assert ended.code == 0, ended.told
                    break
                n_kills += 1
                project = Project.open(folder)
                assert project.integrity() == ()
                left_behind.add(state(folder))
                if what == "train" and [each.status for each in project.rounds()] == ["trained"]:
                    break  # killed on its way out: the same command would train a second round
        assert suggested(ended) == expected
        project = Project.open(folder)
        assert project.integrity() == ()
        (only,) = project.rounds()
        assert only.status == "trained"
        assert only.metrics == Project.open(whole).rounds()[0].metrics
        n_finished += 1
        shutil.rmtree(folder)
    print(f"{n_kills} kills in {n_finished} projects, {len(left_behind)} different states left behind; {seconds}")
    assert n_kills >= 15, "most moments came after the end; the test shows little"
    assert len(left_behind) > 4, "the kills came at the same places; the test shows little"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_kills_change_no_suggested_window_of_a_slide(tmp_path: Path) -> None:
    """A cold ``suggest`` reads the windows' pixels and makes images of the chosen ones; both are cut short."""
    (tmp_path / "slides").mkdir()
    write_synthetic_slide(tmp_path / "slides" / "s.tif", 4096, 3072, seed=1, pixel_size_um=0.5, tissue=0.5, kind="tiff")
    write_synthetic_slide(tmp_path / "slides" / "t.tif", 4096, 3072, seed=2, pixel_size_um=0.5, tissue=0.5, kind="tiff")
    words = ["init", str(tmp_path / "project"), "--images", str(tmp_path / "slides")]
    subprocess.run([sys.executable, "-m", "frugalseg", *words], check=True, capture_output=True)
    whole = copy(tmp_path / "project", tmp_path / "whole")
    began = time.monotonic()
    expected = suggested(start(whole, "suggest"))
    seconds = time.monotonic() - began
    assert len(expected) == 3
    chance = random.Random(6)
    n_kills = 0
    for place in range(SLIDE_KILLS):
        folder = copy(tmp_path / "project", tmp_path / f"killed-{place}")
        ended = start(folder, "suggest", (place + chance.random()) / SLIDE_KILLS * seconds)
        n_kills += ended.code == -signal.SIGKILL
        assert Project.open(folder).integrity() == ()
        given = suggested(start(folder, "suggest"))
        assert [each["image"] for each in given] == [each["image"] for each in expected]
        # a sum's last bit may depend on where its numbers lie in memory
        assert [each["similarity"] for each in given] == pytest.approx(
            [each["similarity"] for each in expected], rel=1e-6
        )
        kept, wanted = Project.open(folder), Project.open(whole)
        assert [each.name for each in kept.images()] == [each.name for each in wanted.images()]
        assert kept.integrity() == ()
    assert n_kills >= SLIDE_KILLS // 2, "most moments came after the end; the test shows little"


def state(folder: Path) -> tuple[str, ...]:
    """Which files of the round a kill left."""
    rounds = folder / "rounds"
    return tuple(sorted(path.relative_to(rounds).as_posix() for path in rounds.rglob("*") if path.is_file()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="several Ray nodes on a machine need Linux")
def test_a_cluster_that_loses_a_node_trains_the_same_members(
    annotated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: frugalseg[ray]")
    ensemble = EnsembleConfig(members=4, quantize_steps=4)
    alone, spread = copy(annotated, tmp_path / "alone"), copy(annotated, tmp_path / "spread")
    train_round(Project.open(alone), TINY, ensemble, open_executor("serial"))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "executors"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    members = round_folder(spread, 0) / MEMBERS
    with two_nodes() as (address, second), open_executor("ray", address=address) as executor:
        work = importlib.import_module("executor_tasks")
        end = time.monotonic() + 60
        while len(set(executor.map(work.node_of, [0.3] * 4))) < 2:
            assert time.monotonic() < end, "the second node does not join"
        killed: dict[str, Any] = {}
        watch = threading.Thread(target=kill_at_work, args=(members, second, killed))
        watch.start()
        train_round(Project.open(spread), TINY, ensemble, executor)
        watch.join()
        assert killed["unfinished"], "all members were trained before the node was killed"
        assert len(set(executor.map(work.node_of, [0.1] * 4))) == 1, "one node is left"
    for index in range(ensemble.members):
        one, other = (round_folder(each, 0) / MEMBERS / f"member-{index}" for each in (alone, spread))
        assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert answers(spread) == answers(alone)
    assert Project.open(spread).integrity() == ()


def kill_at_work(members: Path, second: Any, killed: dict[str, Any]) -> None:
    """Kill the node when two members have begun, which then are trained one on each node, and one has a checkpoint."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        begun = [path.parents[1].name for path in members.glob("member-*/float/checkpoints")]
        if len(begun) >= 2:
            break
        time.sleep(0.02)
    second.kill()
    killed["unfinished"] = [name for name in begun if not (members / name / CARD).exists()]


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[str, Any]]:
    """Address of a Ray cluster of two nodes on the loopback interface, and the second of them."""
    ray = importlib.import_module("test_ray_executor")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="fs-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[1] / "executors"),
        }
        head = ray.Node(environment, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        try:
            ray.wait_for_port(port)
            second = ray.Node(environment, f"--address=127.0.0.1:{port}")
            try:
                yield f"127.0.0.1:{port}", second
            finally:
                if psutil.pid_exists(second.process.pid):
                    second.kill()
        finally:
            head.kill()
