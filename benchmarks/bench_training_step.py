"""A training step as frugalseg does it against plain torch: milliseconds, ratio, share of the augmentation.

    python benchmarks/bench_training_step.py [--quick] [--nets unet,lite,fcn] [--threads N]

Ours: bf16 where the processor has it (as ``frugalseg train`` chooses), channels-last, the depthwise gradient of
``lite``. Plain: fp32, contiguous, torch's own gradients. Both draw the same patches by the same code, and take the same
loss, clipping and optimiser. Their steps alternate, so that what else the machine does falls on both; figures are
medians after warm-up, spread is the interquartile range of ours. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import time
from dataclasses import dataclass, field

import torch

from frugalseg.losses import segmentation_loss
from frugalseg.model_files import DIVISOR, MEAN
from frugalseg.nets import SegmentationNet, build_net
from frugalseg.segmentation import resize_image, resize_labels
from frugalseg.synthetic import synthetic_glands
from frugalseg.train.config import PRESETS, TrainConfig
from frugalseg.train.loop import Place, loss_of
from frugalseg.train.optimiser import build_optimiser
from frugalseg.train.patches import Batch, PreparedImage, draw_batch
from frugalseg.train.plan import choose_place

GOALS = {"unet": 2.5, "lite": 1.6}
LARGEST_SHARE = 0.15
N_IMAGES = 4


@dataclass
class Side:
    """One way of training: its network, its optimiser, and the seconds of its steps."""

    net: SegmentationNet
    optimiser: torch.optim.Optimizer
    place: Place
    ours: bool
    drawing_s: list[float] = field(default_factory=list)
    learning_s: list[float] = field(default_factory=list)

    @property
    def steps_s(self) -> list[float]:
        return [drawing + learning for drawing, learning in zip(self.drawing_s, self.learning_s, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="unet,lite,fcn", help="networks, with commas")
    parser.add_argument("--steps", type=int, default=12, help="steps that count, of either way (at least 5)")
    parser.add_argument("--warm-up", type=int, default=3, help="steps that do not count")
    parser.add_argument("--patch-px", type=int, help="side of a patch; the preset cpu's by default")
    parser.add_argument("--batch-size", type=int, help="patches a step; the preset cpu's by default")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--quick", action="store_true", help="two steps of two small patches: to see that it works")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.warm_up, args.patch_px, args.batch_size = 2, 1, 64, 2
    elif args.steps < 5:
        parser.error("--steps must be at least 5")
    rows = [measure(name, args) for name in args.nets.split(",")]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {processor()}\n")
    print("| network | patches | ours ms (spread) | plain fp32 ms | ratio | goal | augmentation | goal |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(row)
    if args.quick:
        print("\n--quick: the figures mean nothing")


def measure(name: str, args: argparse.Namespace) -> str:
    """Time both ways of training one network; a row of the table."""
    config = TrainConfig(**{"net": name, **PRESETS["cpu"].get(name, {}), "threads": args.threads, "pretrained": False})
    given = {key: value for key in ("patch_px", "batch_size") if (value := getattr(args, key)) is not None}
    config = dataclasses.replace(config, device="cpu", **given)
    place = choose_place(config)
    images = glands(build_net(name).default_object_diameter_px)
    sides = [side(name, config, place, ours=True), side(name, config, Place(place.device, bf16=False), ours=False)]
    for step in range(args.warm_up + args.steps):
        for each in sides if step % 2 else reversed(sides):
            learn(each, draw(each, images, config, step), config)
    for each in sides:
        del each.drawing_s[: args.warm_up], each.learning_s[: args.warm_up]
    ours, plain = (statistics.median(each.steps_s) for each in sides)
    share = statistics.median(sides[0].drawing_s) / ours
    quartiles = statistics.quantiles(sides[0].steps_s, n=4)
    spread = (quartiles[2] - quartiles[0]) * 1000
    how = "bf16" if place.bf16 else "fp32"
    goal = f"≥ {GOALS[name]}" if name in GOALS else ""
    return (
        f"| {name} | {config.batch_size} x {config.patch_px}² | {ours * 1000:.0f} ({spread:.0f}, {how}) | "
        f"{plain * 1000:.0f} | {plain / ours:.2f} | {goal} | {share:.1%} | ≤ {LARGEST_SHARE:.0%} |"
    )


def side(name: str, config: TrainConfig, place: Place, *, ours: bool) -> Side:
    net = build_net(name, seed=0).train()
    if ours:
        net = net.to(memory_format=torch.channels_last)
    return Side(net, build_optimiser(net, config), place, ours)


def draw(each: Side, images: list[PreparedImage], config: TrainConfig, step: int) -> Batch:
    """The batch of `step`, timed; either way draws its own, so that neither gets patches for nothing."""
    start = time.perf_counter()
    batch = draw_batch(images, config, step)
    each.drawing_s.append(time.perf_counter() - start)
    return batch


def learn(each: Side, batch: Batch, config: TrainConfig) -> None:
    """Loss, gradient, clipping and optimiser step, timed."""
    start = time.perf_counter()
    loss = loss_of(each.net, batch, config, each.place) if each.ours else plain_loss(each.net, batch, config)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(each.net.parameters(), config.clip_norm, foreach=True)
    each.optimiser.step()
    each.optimiser.zero_grad(set_to_none=True)
    each.learning_s.append(time.perf_counter() - start)


def plain_loss(net: SegmentationNet, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """The loss as one writes it without thinking of memory order or precision."""
    return segmentation_loss(
        net((batch.images - MEAN) / DIVISOR),
        batch.labels,
        batch.lookup,
        border_px=config.border_px,
        gap_px=config.gap_px,
        gap_factor=config.gap_factor,
        diameter_px=net.default_object_diameter_px,
        small_factor=config.small_factor,
        dice_factor=config.dice_factor,
        border_factor=config.border_factor,
    )


def glands(object_diameter_px: float) -> list[PreparedImage]:
    """Synthetic images of the GlaS images' size, brought to the network's scale as training does it."""
    images = []
    for seed in range(N_IMAGES):
        drawn = synthetic_glands(seed, height=522, width=775)
        scale = object_diameter_px / 100  # synthetic glands are about 60 to 160 pixels across
        image = resize_image(drawn.image, scale)
        labels = resize_labels(drawn.labels, *image.shape[:2])
        lookup = torch.ones(int(labels.max()) + 1, dtype=torch.int64).numpy()
        lookup[0] = 0
        images.append(PreparedImage(f"glands {seed}", image, labels, lookup))
    return images


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
