"""How quickly the annotation page answers on a large image: opening it, and brushing.

    python benchmarks/bench_page.py [--side N] [--objects N] [--moves N]

A real Chromium without a screen and without GPU, real mouse events, a server in a process of its own. The image has
4096 x 4096 pixels and 1,000 objects. Three figures, each with its goal:

- page ready: from the click on the image in the list until all tiles in view are painted; at most 2 s. The first
  opening finds the server just started and busy with the thumbnail; two more follow;
- pointer to pixel: from the time stamp that the browser gives a mouse move until the canvas pixel under the pointer has
  changed, looked for after each frame; 95th percentile at most 50 ms;
- longest task of the main thread from pressing the brush until the stroke is saved; none over 100 ms.

They are taken with the whole image in view, and zoomed in to about one image pixel per pixel of the screen. Needs the
built page ('make page'), Chromium and the dependency group 'test'.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Locator, sync_playwright
from served import served

from frugalseg.images import write_image
from frugalseg.project import Project
from frugalseg.synthetic import synthetic_glands

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
GAP = 128
"""Distance of objects; between them are corridors of background, along which the brush goes."""

PROBE = """
window.probe = { latencies: [], tasks: [], opened: 0, ready: 0 };
new PerformanceObserver(list => {
  for (const it of list.getEntries()) probe.tasks.push({ start: it.startTime, ms: it.duration });
}).observe({ entryTypes: ["longtask"] });
addEventListener("click", () => { probe.opened = performance.now(); probe.ready = 0; }, { capture: true });
const labels = () => document.querySelector("[data-testid=labels]");
const colour = it => {
  const pen = labels().getContext("2d");
  return pen.getImageData(it.x, it.y, 1, 1).data.join();
};
const waiting = probe.waiting = [];
addEventListener("pointermove", event => {
  if (!event.buttons || !labels()) return;
  const box = labels().getBoundingClientRect(), ratio = devicePixelRatio;
  const it = { x: Math.round((event.clientX - box.left) * ratio), y: Math.round((event.clientY - box.top) * ratio) };
  waiting.push({ ...it, before: colour(it), began: event.timeStamp });
}, { capture: true });
const look = () => {
  if (!probe.ready && document.querySelector("[data-testid=drawing][data-ready=true]")) probe.ready = performance.now();
  for (let i = waiting.length - 1; i >= 0; i--) {
    if (colour(waiting[i]) === waiting[i].before) continue;
    probe.latencies.push(performance.now() - waiting[i].began);
    waiting.splice(i, 1);
  }
};
const channel = new MessageChannel();
channel.port1.onmessage = look;
const frame = () => { channel.port2.postMessage(0); requestAnimationFrame(frame); };
requestAnimationFrame(frame);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096, help="height and width of the image")
    parser.add_argument("--objects", type=int, default=1000, help="objects in the image")
    parser.add_argument("--moves", type=int, default=150, help="mouse moves per view")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = _project(Path(folder), args.side, args.objects)
        with served(project) as (url, _, _):
            _measure(url, args.side, args.objects, args.moves)


def _project(folder: Path, side: int, n: int) -> Project:
    tile = synthetic_glands(1, height=512, width=512).image
    reps = -(-side // 512)
    source = folder / "large.png"
    write_image(source, np.tile(tile, (reps, reps, 1))[:side, :side])
    labels = np.zeros((side, side), np.int32)
    per_row = side // GAP
    if n > per_row**2:
        raise SystemExit(f"at most {per_row**2} objects have room in {side} x {side} pixels")
    rows, columns = np.mgrid[:GAP, :GAP]
    disc = np.hypot(rows - GAP / 2, columns - GAP / 2) < 0.36 * GAP
    for i in range(n):
        y, x = GAP * (i // per_row), GAP * (i % per_row)
        labels[y : y + GAP, x : x + GAP][disc] = i + 1
    project = Project.create(folder / "project")
    project.add_images([source])
    project.annotate("large", labels, complete=False, source="import")
    return project


def _measure(url: str, side: int, n: int, moves: int) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
        page.set_default_timeout(120_000)
        page.add_init_script(PROBE)
        page.goto(url)
        print(f"{side} x {side} pixels, {n} objects; milliseconds\n")
        print("| | page ready | pointer to pixel p50 | p95 | most | moves seen | longest task |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        ready = []
        for _ in range(3):
            page.locator("[data-testid=image-row] a").first.click()
            page.wait_for_function("() => probe.ready > 0")
            ready.append(page.evaluate("probe.ready - probe.opened"))
            page.wait_for_timeout(1000)
            page.get_by_role("link", name="Back to the queue").click()
        page.locator("[data-testid=image-row] a").first.click()
        canvas = page.get_by_test_id("drawing")
        page.wait_for_function("() => probe.ready > 0")
        page.wait_for_timeout(3000)  # what is not in view comes after
        _row("whole image in view", canvas, side, moves, " / ".join(f"{ms:.0f}" for ms in ready))
        while float(canvas.get_attribute("data-scale") or 0) < 0.9:
            page.keyboard.press("+")
            page.wait_for_timeout(200)
        _row(f"scale {float(canvas.get_attribute('data-scale') or 0):.2f}", canvas, side, moves, "")
        browser.close()


def _row(name: str, canvas: Locator, side: int, moves: int, ready: str) -> None:
    page = canvas.page
    page.wait_for_function("() => document.querySelector('[data-testid=drawing]').dataset.ready === 'true'")
    page.evaluate("() => { probe.latencies = []; probe.tasks = []; probe.waiting.length = 0; }")
    for places in _corridors(canvas, side, moves):
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
            time.sleep(0.008)
        page.wait_for_timeout(200)
        page.mouse.up()
        page.keyboard.press("Escape")
        page.locator("[data-testid=save-state][data-state=saved]").wait_for()
    page.wait_for_timeout(1000)
    told: dict[str, Any] = page.evaluate("probe")
    latencies = np.array(told["latencies"])
    longest = max((task["ms"] for task in told["tasks"]), default=0)
    seen = f"{len(latencies)} of {len(latencies) + len(told['waiting'])}"
    p50, p95 = np.percentile(latencies, [50, 95])
    tasks = f"{longest:.0f}" if longest else "under 50"
    print(f"| {name} | {ready} | {p50:.0f} | {p95:.0f} | {latencies.max():.0f} | {seen} | {tasks} |")


def _corridors(canvas: Locator, side: int, moves: int) -> list[list[tuple[float, float]]]:
    """Ways on the page along the background between rows of objects, as many as the moves need."""
    scale, left, top = (float(canvas.get_attribute(f"data-{it}") or 0) for it in ("scale", "origin-x", "origin-y"))
    box = canvas.bounding_box()
    assert box is not None
    first, last = max(0.0, left), min(side, left + box["width"] / scale)
    ways = []
    y = GAP * (int(max(0.0, top) // GAP) + 1)
    step = max(6.0, 24 * scale) / scale  # farther than the brush reaches
    while y < top + box["height"] / scale - 20 and sum(map(len, ways)) < moves:
        xs = np.arange(first + 20, last - 20, step)
        ways.append([(box["x"] + (x - left) * scale, box["y"] + (y - top) * scale) for x in xs])
        y += GAP
    return ways


if __name__ == "__main__":
    main()
