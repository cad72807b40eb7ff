"""What a worker does: train the networks of cells, and score them; whatever is there is not made again."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from frugalseg.engines import Engine
from frugalseg.ensemble.members import Task, train_task
from frugalseg.export import export_model
from frugalseg.images import load_sample, open_dataset
from frugalseg.inspection import inspect_model
from frugalseg.ledger import Ledger
from frugalseg.metrics import score_image
from frugalseg.model_files import CARD, WEIGHTS, ModelCard
from frugalseg.predict import load_model
from frugalseg.segmentation import Segmented, network_image, objects_of, probability_map
from frugalseg.suggest import score_maps
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CHECKPOINTS, read_metrics
from frugalseg.train.quantize_config import QuantizeConfig

log = logging.getLogger(__name__)

PLAIN = "float-plain"


@dataclass(frozen=True)
class Network:
    """One network of the study.

    Attributes
    ----------
    folder
        Of the float run and of all phases that begin from it.
    training
        Name of the phase, and of its run folder.
    names
        Training images.
    config, phase
        Settings of the float run and of the phase; None for none.
    """

    folder: Path
    training: str
    names: tuple[str, ...]
    config: TrainConfig
    phase: QuantizeConfig | None

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / self.training


@dataclass(frozen=True)
class Scoring:
    """A cell of the ledger to be filled: its key, its networks, the parts of the data they are scored on."""

    key: dict[str, Any]
    networks: tuple[Network, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """What one worker is given: networks to train, cells to fill."""

    name: str
    data: Path
    ledger: Path
    networks: tuple[Network, ...] = ()
    scorings: tuple[Scoring, ...] = ()


def do_work(work: Work) -> int:
    """Train what is to be trained, fill the cells in order; how many cells were filled.

    For executors: the caller holds the training lock.
    """
    for network in work.networks:
        _train(network, work.data)
    ledger = Ledger(work.ledger)
    filled = 0
    for scoring in work.scorings:
        if ledger.has(scoring.key):
            continue
        began = time.monotonic()
        for network in scoring.networks:
            _train(network, work.data)
        trained_s = sum(_training_seconds(network) for network in scoring.networks)
        scored_from = time.monotonic()
        result = _score(scoring, work.data)
        ledger.put(scoring.key, result, trained_s + time.monotonic() - scored_from)
        log.info("%s: scored after %.1f minutes", scoring.key["cell"], (time.monotonic() - began) / 60)
        filled += 1
    return filled


def _train(network: Network, data: Path) -> None:
    """Train a network, and the float run before its phase, unless they are there."""
    if (network.run / CARD).exists():
        return
    network.folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(network.folder / ".lock"):  # another worker may want the float run at the same time
        plain = network.folder / PLAIN
        train_task(Task(data, plain, network.names, network.config))
        shutil.rmtree(plain / CHECKPOINTS, ignore_errors=True)
        if network.phase is not None:
            train_task(Task(data, network.run, network.names, None, network.phase, trunk=plain))
            shutil.rmtree(network.run / CHECKPOINTS, ignore_errors=True)


def _training_seconds(network: Network) -> float:
    """Seconds of all steps of a network: of its float run, and of its phase."""
    total = 0.0
    for folder in dict.fromkeys((network.folder / PLAIN, network.run)):
        before = 0
        for row in read_metrics(folder):
            total += (row["step"] - before) * row["seconds_per_step"]
            before = row["step"]
    return total


def _score(scoring: Scoring, data: Path) -> dict[str, Any]:
    """All that is kept of a cell."""
    runs = [network.run for network in scoring.networks]
    model = load_model(runs, threads=scoring.networks[0].config.threads)
    scores: dict[str, dict[str, list[float]]] = {}
    disagreement: dict[str, dict[str, float]] = {}
    for part in scoring.parts:
        dataset = open_dataset(data, subset=part)
        scores[part], disagreement[part] = {}, {}
        for sample in dataset.labelled:
            loaded = load_sample(dataset, sample)
            found, deviation = _segmented(model.engines, loaded.image, model.card)
            scores[part][sample.name] = score_image(found.labels, loaded.labels).as_list()
            disagreement[part][sample.name] = deviation
    return {
        "images": list(scoring.networks[0].names),
        "scores": scores,
        "disagreement": disagreement if len(runs) > 1 else None,
        "sha256": [_sha256(run / WEIGHTS) for run in runs],
        "bytes": _bytes(runs),
    }


def _segmented(engines: Sequence[Engine], image: Any, card: ModelCard) -> tuple[Segmented, float]:
    """Objects from the mean of all maps, as `segment` finds them; and how far the networks are from each other.

    That is the standard deviation of the foreground's probability over the networks, averaged over the pixels.
    """
    small = network_image(image, card.scale, card.stain)
    maps = [probability_map(engine, small) for engine in engines]
    mean = np.asarray(np.sum(maps, axis=0) / np.float32(len(maps)), dtype=np.float32)
    found = objects_of(mean, image.shape[0], image.shape[1], card.instances)
    return found, score_maps(maps).uncertainty


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bytes(runs: Sequence[Path]) -> dict[str, int]:
    """Bytes of all networks as 32-bit floats, of the packed file with plain codes, and of the file as it is stored."""
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "model.fseg"
        export_model(runs, packed, "fseg", int8=False)
        document = inspect_model(packed)
    totals, file = document["totals"], document["file"]
    return {
        "float32": totals["float32_bytes"],
        "plain": totals["bytes"] + file["header_bytes"] + file["graph_bytes"],
        "coded": file["bytes"],
    }
