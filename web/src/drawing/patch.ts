import { Bounds, NOTHING, intersection, isEmpty, type Rectangle } from "./rectangle";
import { ABSENT, LabelTiles, TILE, type TileKey } from "./tiles";

/** What one step changed: enough to do it, to undo it, and to send it. */
export interface Patch {
  tool: string;
  place: Rectangle;
  before: Int32Array;
  after: Int32Array;
  /** Classes that changed, with null for "none given". */
  classesBefore: Record<number, number | null>;
  classesAfter: Record<number, number | null>;
  /** The whole list of accepted objects, or null where it stayed the same. */
  acceptedBefore: readonly number[] | null;
  acceptedAfter: readonly number[] | null;
}

export function reversed(patch: Patch, tool: string): Patch {
  return {
    tool,
    place: patch.place,
    before: patch.after,
    after: patch.before,
    classesBefore: patch.classesAfter,
    classesAfter: patch.classesBefore,
    acceptedBefore: patch.acceptedAfter,
    acceptedAfter: patch.acceptedBefore,
  };
}

export function isIdle(patch: Patch): boolean {
  return isEmpty(patch.place) && Object.keys(patch.classesAfter).length === 0 && patch.acceptedAfter === null;
}

/** The server takes rectangles of so many pixels a side. */
const MOST_SENT = 4096;

/** The patch in rectangles that can be sent, one after the other; what is no pixels goes with the first. */
export function pieces(patch: Patch): Patch[] {
  const { place } = patch;
  if (place.w <= MOST_SENT && place.h <= MOST_SENT) return [patch];
  const parts: Patch[] = [];
  for (let y = 0; y < place.h; y += MOST_SENT) {
    for (let x = 0; x < place.w; x += MOST_SENT) {
      const part = { x, y, w: Math.min(MOST_SENT, place.w - x), h: Math.min(MOST_SENT, place.h - y) };
      const rest = parts.length ? { classesBefore: {}, classesAfter: {}, acceptedBefore: null, acceptedAfter: null } : {};
      parts.push({
        ...patch,
        ...rest,
        place: { ...part, x: place.x + x, y: place.y + y },
        before: cut(patch.before, place.w, part),
        after: cut(patch.after, place.w, part),
      });
    }
  }
  return parts;
}

function cut(labels: Int32Array, width: number, part: Rectangle): Int32Array {
  const out = new Int32Array(part.w * part.h);
  for (let y = 0; y < part.h; y++) {
    const from = (part.y + y) * width + part.x;
    out.set(labels.subarray(from, from + part.w), y * part.w);
  }
  return out;
}

/** Writes labels and remembers what was there: a tile is copied when it is first written to. */
export class Recorder {
  private readonly originals = new Map<TileKey, Int32Array>();
  private readonly changed = new Bounds();
  private fresh = new Bounds();

  constructor(private readonly tiles: LabelTiles) {}

  /**
   * Sets pixels first..last of a row to a label where `may` allows the label that is there. Pixels outside the image and on
   * tiles that are not loaded stay as they are.
   */
  setRun(y: number, first: number, last: number, label: number, may: (old: number) => boolean): void {
    if (y < 0 || y >= this.tiles.height) return;
    const from = Math.max(first, 0);
    const to = Math.min(last, this.tiles.width - 1);
    for (let x = from; x <= to; ) {
      const end = Math.min(to, (x | 511));
      this.setWithinTile(x >> 9, y, x, end, label, may);
      x = end + 1;
    }
  }

  private setWithinTile(column: number, y: number, first: number, last: number, label: number, may: (old: number) => boolean): void {
    const key = `${column},${y >> 9}`;
    const tile = this.tiles.tiles.get(key);
    if (!tile) return;
    const row = (y & 511) * TILE;
    for (let x = first; x <= last; x++) {
      const at = row + (x & 511);
      const old = tile[at]!;
      if (old === label || !may(old)) continue;
      if (!this.originals.has(key)) this.originals.set(key, tile.slice());
      tile[at] = label;
      this.changed.add(x, y);
      this.fresh.add(x, y);
    }
  }

  /** The rectangle changed since this was last asked. */
  takeFresh(): Rectangle {
    const r = this.fresh.rectangle;
    this.fresh = new Bounds();
    return r;
  }

  get place(): Rectangle {
    return this.changed.rectangle;
  }

  /** Labels as they were before. */
  private before(r: Rectangle, now: Int32Array): Int32Array {
    const old = now.slice();
    for (const [key, original] of this.originals) {
      const [column, row] = key.split(",").map(Number) as [number, number];
      const part = intersection(r, this.tiles.place(column, row));
      for (let y = part.y; y < part.y + part.h; y++) {
        const from = (y - row * TILE) * TILE + part.x - column * TILE;
        old.set(original.subarray(from, from + part.w), (y - r.y) * r.w + part.x - r.x);
      }
    }
    return old;
  }

  finish(tool: string): Patch {
    const place = this.place;
    const after = this.tiles.read(place);
    const before = this.before(place, after);
    return {
      tool,
      place: isEmpty(place) ? NOTHING : place,
      before,
      after,
      classesBefore: {},
      classesAfter: {},
      acceptedBefore: null,
      acceptedAfter: null,
    };
  }

  /** Puts everything back. */
  revert(): Rectangle {
    const place = this.place;
    if (!isEmpty(place)) this.tiles.write(place, this.before(place, this.tiles.read(place)));
    this.originals.clear();
    return place;
  }
}

/** Whether the labels of a rectangle are all known, so that it may be sent as it is. */
export function isWhole(labels: Int32Array): boolean {
  return labels.indexOf(ABSENT) < 0;
}
