import type { Recorder } from "./patch";
import { Bounds, intersection, type Rectangle } from "./rectangle";

export interface Point {
  x: number;
  y: number;
}

/** What a shape writes: a label, where it may, inside a window. */
export interface Ink {
  label: number;
  may: (old: number) => boolean;
  within: Rectangle;
}

/** A disc drawn along a straight line. A pixel is covered if its middle is within the radius; the pixel under the end always is. */
export function drawSegment(recorder: Recorder, from: Point, to: Point, radius: number, ink: Ink): void {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  // Short pieces keep the rectangle that is tested small.
  const pieces = Math.max(1, Math.ceil(length / Math.max(radius, 8)));
  for (let i = 0; i < pieces; i++) {
    const a = { x: from.x + ((to.x - from.x) * i) / pieces, y: from.y + ((to.y - from.y) * i) / pieces };
    const b = { x: from.x + ((to.x - from.x) * (i + 1)) / pieces, y: from.y + ((to.y - from.y) * (i + 1)) / pieces };
    drawPiece(recorder, a, b, radius, ink);
  }
  const x = Math.floor(to.x);
  const y = Math.floor(to.y);
  run(recorder, y, x, x, ink);
}

function drawPiece(recorder: Recorder, a: Point, b: Point, radius: number, ink: Ink): void {
  const dx = b.x - a.x;
  const dy = b.y - a.y;
  const squared = dx * dx + dy * dy;
  const left = Math.floor(Math.min(a.x, b.x) - radius);
  const right = Math.ceil(Math.max(a.x, b.x) + radius);
  const bottom = Math.ceil(Math.max(a.y, b.y) + radius);
  for (let y = Math.floor(Math.min(a.y, b.y) - radius); y <= bottom; y++) {
    let first = 1;
    let last = 0;
    for (let x = left; x <= right; x++) {
      const px = x + 0.5 - a.x;
      const py = y + 0.5 - a.y;
      const t = squared > 0 ? Math.min(1, Math.max(0, (px * dx + py * dy) / squared)) : 0;
      const ox = px - t * dx;
      const oy = py - t * dy;
      if (ox * ox + oy * oy > radius * radius) continue;
      if (last < first) first = x;
      last = x;
    }
    if (last >= first) run(recorder, y, first, last, ink);
  }
}

function run(recorder: Recorder, y: number, first: number, last: number, ink: Ink): void {
  if (y < ink.within.y || y >= ink.within.y + ink.within.h) return;
  const from = Math.max(first, ink.within.x);
  const to = Math.min(last, ink.within.x + ink.within.w - 1);
  if (from <= to) recorder.setRun(y, from, to, ink.label, ink.may);
}

/** The whole pixels that points reach. */
export function around(points: readonly Point[]): Rectangle {
  const bounds = new Bounds();
  for (const { x, y } of points) bounds.add(Math.floor(x), Math.floor(y));
  return bounds.rectangle;
}

/** Fills a polygon by the even-odd rule; a pixel belongs to it if its middle does. */
export function fillPolygon(recorder: Recorder, points: readonly Point[], ink: Ink): void {
  if (points.length < 3) return;
  const top = Math.floor(Math.min(...points.map((p) => p.y)));
  const bottom = Math.ceil(Math.max(...points.map((p) => p.y)));
  const rows = intersection({ x: ink.within.x, y: top, w: ink.within.w, h: bottom - top + 1 }, ink.within);
  for (let y = rows.y; y < rows.y + rows.h; y++) {
    const crossings: number[] = [];
    const middle = y + 0.5;
    for (let i = 0; i < points.length; i++) {
      const a = points[i]!;
      const b = points[(i + 1) % points.length]!;
      if (a.y <= middle === b.y <= middle) continue;
      crossings.push(a.x + ((middle - a.y) / (b.y - a.y)) * (b.x - a.x));
    }
    crossings.sort((p, q) => p - q);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const first = Math.ceil(crossings[i]! - 0.5);
      const last = Math.ceil(crossings[i + 1]! - 0.5) - 1;
      if (first <= last) run(recorder, y, first, last, ink);
    }
  }
}

/** Pixels of a line, each touching the next by a side or a corner. */
export function linePixels(points: readonly Point[]): Point[] {
  const found: Point[] = [];
  for (let i = 0; i + 1 < points.length; i++) {
    let x = Math.floor(points[i]!.x);
    let y = Math.floor(points[i]!.y);
    const toX = Math.floor(points[i + 1]!.x);
    const toY = Math.floor(points[i + 1]!.y);
    const dx = Math.abs(toX - x);
    const dy = -Math.abs(toY - y);
    let error = dx + dy;
    for (;;) {
      found.push({ x, y });
      if (x === toX && y === toY) break;
      const twice = 2 * error;
      if (twice >= dy) {
        error += dy;
        x += x < toX ? 1 : -1;
      }
      if (twice <= dx) {
        error += dx;
        y += y < toY ? 1 : -1;
      }
    }
  }
  return found;
}
