import { Bounds, type Rectangle } from "./rectangle";
import { LabelTiles, TILE } from "./tiles";

export interface ObjectFigures {
  pixels: number;
  /** Sums of the pixels' places, for the centre. */
  sumX: number;
  sumY: number;
}

/** How large each object is and where, kept up to date pixel by pixel for the loaded tiles. */
export class ObjectIndex {
  readonly objects = new Map<number, ObjectFigures>();

  addTile(tiles: LabelTiles, column: number, row: number, sign: 1 | -1 = 1): void {
    const tile = tiles.tiles.get(`${column},${row}`);
    if (!tile) return;
    const place = tiles.place(column, row);
    for (let y = 0; y < place.h; y++) {
      let x = 0;
      while (x < place.w) {
        const label = tile[y * TILE + x]!;
        const start = x;
        while (x < place.w && tile[y * TILE + x] === label) x++;
        if (label > 0) this.addRun(label, place.x + start, place.y + y, x - start, sign);
      }
    }
  }

  /** Follows a change of a rectangle, run by run. Tells which objects it touched, and how many pixels each of them gained. */
  change(r: Rectangle, before: Int32Array, after: Int32Array): Map<number, number> {
    const touched = new Map<number, number>();
    for (let y = 0; y < r.h; y++) {
      const end = (y + 1) * r.w;
      for (let i = y * r.w; i < end; ) {
        const old = before[i]!;
        const now = after[i]!;
        const start = i++;
        if (old === now) continue;
        while (i < end && before[i] === old && after[i] === now) i++;
        const x = r.x + start - y * r.w;
        if (old > 0) this.addRun(old, x, r.y + y, i - start, -1);
        if (now > 0) this.addRun(now, x, r.y + y, i - start, 1);
        if (old > 0 && !touched.has(old)) touched.set(old, 0);
        if (now > 0) touched.set(now, (touched.get(now) ?? 0) + i - start);
      }
    }
    return touched;
  }

  centre(label: number): { x: number; y: number } | null {
    const found = this.objects.get(label);
    return found ? { x: found.sumX / found.pixels, y: found.sumY / found.pixels } : null;
  }

  private addRun(label: number, x: number, y: number, length: number, sign: 1 | -1): void {
    let found = this.objects.get(label);
    if (!found) this.objects.set(label, (found = { pixels: 0, sumX: 0, sumY: 0 }));
    found.pixels += sign * length;
    found.sumX += sign * (length * x + (length * (length - 1)) / 2);
    found.sumY += sign * length * y;
    if (found.pixels === 0) this.objects.delete(label);
  }
}

/** The rectangle around an object, over the loaded tiles. */
export function boundsOf(tiles: LabelTiles, label: number): Rectangle {
  const bounds = new Bounds();
  for (const [key, tile] of tiles.tiles) {
    if (tile.indexOf(label) < 0) continue;
    const [column, row] = key.split(",").map(Number) as [number, number];
    const place = tiles.place(column, row);
    for (let y = 0; y < place.h; y++) {
      const line = tile.subarray(y * TILE, y * TILE + place.w);
      const first = line.indexOf(label);
      if (first < 0) continue;
      bounds.add(place.x + first, place.y + y);
      bounds.add(place.x + line.lastIndexOf(label), place.y + y);
    }
  }
  return bounds.rectangle;
}

/** Tiles that are not loaded though an object reaches their border, so it may go on there. */
export function tilesGoingOn(tiles: LabelTiles, label: number): [number, number][] {
  const found = new Map<string, [number, number]>();
  for (const [key, tile] of tiles.tiles) {
    const [column, row] = key.split(",").map(Number) as [number, number];
    const place = tiles.place(column, row);
    const want = (c: number, r: number): void => {
      if (c >= 0 && r >= 0 && c < tiles.columns && r < tiles.rows && !tiles.has(c, r)) found.set(`${c},${r}`, [c, r]);
    };
    for (let i = 0; i < place.w; i++) {
      if (tile[i] === label) want(column, row - 1);
      if (tile[(place.h - 1) * TILE + i] === label) want(column, row + 1);
    }
    for (let i = 0; i < place.h; i++) {
      if (tile[i * TILE] === label) want(column - 1, row);
      if (tile[i * TILE + place.w - 1] === label) want(column + 1, row);
    }
  }
  return [...found.values()];
}
