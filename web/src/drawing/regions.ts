import type { Point } from "./shapes";
import { linePixels } from "./shapes";
import { holds, intersection, type Rectangle } from "./rectangle";
import { ABSENT, type LabelTiles } from "./tiles";

/** Connected pixels, as indices into a rectangle. */
export interface Region {
  place: Rectangle;
  pixels: number[];
}

export type FillResult = { kind: "region"; region: Region; neighbours: Map<number, number> } | { kind: "open" } | { kind: "object" } | { kind: "absent"; x: number; y: number };

const REACH = 2048;

/**
 * The background around a pixel, if objects enclose it. Background at the border of the image or the window is "open", and so
 * is one that goes on more than REACH pixels away.
 */
export function enclosedBackground(tiles: LabelTiles, x: number, y: number, within: Rectangle): FillResult {
  if (tiles.get(x, y) > 0) return { kind: "object" };
  const place = intersection(within, { x: x - REACH, y: y - REACH, w: 2 * REACH, h: 2 * REACH });
  if (!holds(place, x, y)) return { kind: "open" };
  const labels = tiles.read(place);
  const { w, h } = place;
  const seen = new Uint8Array(w * h);
  const start = (y - place.y) * w + x - place.x;
  const pixels = [start];
  const neighbours = new Map<number, number>();
  seen[start] = 1;
  for (let next = 0; next < pixels.length; next++) {
    const at = pixels[next]!;
    const px = at % w;
    const py = (at - px) / w;
    if (labels[at] === ABSENT) return { kind: "absent", x: place.x + px, y: place.y + py };
    if (px === 0 || py === 0 || px === w - 1 || py === h - 1) return { kind: "open" };
    for (const to of [at - 1, at + 1, at - w, at + w]) {
      const label = labels[to]!;
      if (label > 0) neighbours.set(label, (neighbours.get(label) ?? 0) + 1);
      else if (!seen[to]) {
        seen[to] = 1;
        pixels.push(to);
      }
    }
  }
  return { kind: "region", region: { place, pixels }, neighbours };
}

/** Number of each pixel's connected part (by sides), from 1; 0 where the mask is 0. Also the size of each part, at its number. */
export function connectedParts(mask: Uint8Array, w: number): { parts: Int32Array; sizes: number[] } {
  const parts = new Int32Array(mask.length);
  const sizes = [0];
  const queue: number[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || parts[start]) continue;
    const part = sizes.length;
    queue.length = 0;
    queue.push(start);
    parts[start] = part;
    for (let next = 0; next < queue.length; next++) {
      const at = queue[next]!;
      const px = at % w;
      const visit = (to: number): void => {
        if (mask[to] && !parts[to]) {
          parts[to] = part;
          queue.push(to);
        }
      };
      if (px > 0) visit(at - 1);
      if (px < w - 1) visit(at + 1);
      if (at >= w) visit(at - w);
      if (at + w < mask.length) visit(at + w);
    }
    sizes.push(queue.length);
  }
  return { parts, sizes };
}

const CRUMB = 4;

/**
 * The pieces of an object cut along a line: per pixel of its rectangle 0 outside, else the piece's number, the largest being 1.
 * Pixels of the cut and crumbs beside it join the piece they touch, so nothing is lost. Parts of the object that lay apart from
 * what the line cuts stay with the first piece. Null if the line does not cut it.
 */
export function cutPieces(labels: Int32Array, place: Rectangle, label: number, line: readonly Point[]): { pieces: Int32Array; count: number } | null {
  const mask = new Uint8Array(labels.length);
  for (let i = 0; i < labels.length; i++) mask[i] = labels[i] === label ? 1 : 0;
  const before = connectedParts(mask, place.w);
  const object = mask.slice();
  for (const p of linePixels(line)) if (holds(place, p.x, p.y)) mask[(p.y - place.y) * place.w + p.x - place.x] = 0;
  const { parts, sizes } = connectedParts(mask, place.w);
  const origin = new Int32Array(sizes.length);
  for (let i = 0; i < parts.length; i++) if (parts[i]) origin[parts[i]!] = before.parts[i]!;
  const large = sizes.map((size, part) => ({ size, part })).filter(({ size, part }) => part > 0 && size >= CRUMB);
  const piecesOf = new Int32Array(before.sizes.length);
  for (const { part } of large) piecesOf[origin[part]!]!++;
  const order = large.filter(({ part }) => piecesOf[origin[part]!]! > 1);
  if (!order.length) return null;
  order.sort((a, b) => b.size - a.size);
  const rank = new Int32Array(sizes.length);
  for (const { part } of large) rank[part] = 1;
  order.forEach(({ part }, i) => (rank[part] = i + 1));
  const pieces = new Int32Array(labels.length);
  for (let i = 0; i < parts.length; i++) pieces[i] = rank[parts[i]!]!;
  growInto(pieces, object, place.w);
  return { pieces, count: order.length };
}

/** Gives each pixel of the object without a piece the piece of its nearest neighbour; without any, the first. */
function growInto(pieces: Int32Array, object: Uint8Array, w: number): void {
  let front: number[] = [];
  for (let i = 0; i < pieces.length; i++) if (pieces[i]) front.push(i);
  while (front.length) {
    const next: number[] = [];
    for (const at of front) {
      const px = at % w;
      const visit = (to: number): void => {
        if (object[to] && !pieces[to]) {
          pieces[to] = pieces[at]!;
          next.push(to);
        }
      };
      if (px > 0) visit(at - 1);
      if (px < w - 1) visit(at + 1);
      if (at >= w) visit(at - w);
      if (at + w < pieces.length) visit(at + w);
    }
    front = next;
  }
  for (let i = 0; i < pieces.length; i++) if (object[i] && !pieces[i]) pieces[i] = 1;
}

/** The object that most pixels of a line lie on; 0 for none. */
export function objectUnder(tiles: LabelTiles, line: readonly Point[]): number {
  const counts = new Map<number, number>();
  for (const p of linePixels(line)) {
    const label = tiles.get(p.x, p.y);
    if (label > 0) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  let best = 0;
  for (const [label, count] of counts) if (count > (counts.get(best) ?? 0)) best = label;
  return best;
}
