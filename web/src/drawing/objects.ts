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

  change(r: Rectangle, before: Int32Array, after: Int32Array): void {
    for (let i = 0; i < before.length; i++) {
      const old = before[i]!;
      const now = after[i]!;
      if (old === now) continue;
      const x = r.x + (i % r.w);
      const y = r.y + Math.floor(i / r.w);
      if (old > 0) this.addRun(old, x, y, 1, -1);
      if (now > 0) this.addRun(now, x, y, 1, 1);
    }
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
