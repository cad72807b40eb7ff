import { intersection, isEmpty, type Rectangle } from "./rectangle";

export const TILE = 512;
export const BACKGROUND = 0;
export const UNKNOWN = -1;
/** What reading gives where no tile is loaded, and outside the image. */
export const ABSENT = -2147483648;

export type TileKey = string;

export function tileKey(column: number, row: number): TileKey {
  return `${column},${row}`;
}

/** The label map of one image, as sparse square tiles: only what was loaded is there. */
export class LabelTiles {
  readonly tiles = new Map<TileKey, Int32Array>();
  readonly columns: number;
  readonly rows: number;
  readonly whole: Rectangle;

  constructor(readonly width: number, readonly height: number) {
    this.columns = Math.ceil(width / TILE);
    this.rows = Math.ceil(height / TILE);
    this.whole = { x: 0, y: 0, w: width, h: height };
  }

  has(column: number, row: number): boolean {
    return this.tiles.has(tileKey(column, row));
  }

  /** The part of the image that a tile covers. */
  place(column: number, row: number): Rectangle {
    return intersection(this.whole, { x: column * TILE, y: row * TILE, w: TILE, h: TILE });
  }

  /** Column and row of each tile that a rectangle touches. */
  touched(r: Rectangle): [number, number][] {
    const inside = intersection(r, this.whole);
    const found: [number, number][] = [];
    if (isEmpty(inside)) return found;
    const lastColumn = Math.floor((inside.x + inside.w - 1) / TILE);
    const lastRow = Math.floor((inside.y + inside.h - 1) / TILE);
    for (let row = Math.floor(inside.y / TILE); row <= lastRow; row++) {
      for (let column = Math.floor(inside.x / TILE); column <= lastColumn; column++) found.push([column, row]);
    }
    return found;
  }

  missing(r: Rectangle): [number, number][] {
    return this.touched(r).filter(([column, row]) => !this.has(column, row));
  }

  /** Makes the tiles of a rectangle present, filled with background, unless they are. */
  create(r: Rectangle): void {
    for (const [column, row] of this.missing(r)) this.tiles.set(tileKey(column, row), new Int32Array(TILE * TILE));
  }

  get(x: number, y: number): number {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return ABSENT;
    const tile = this.tiles.get(tileKey(x >> 9, y >> 9));
    return tile ? tile[((y & 511) << 9) | (x & 511)]! : ABSENT;
  }

  /** Labels of a rectangle, row by row; ABSENT outside the image and where nothing is loaded. */
  read(r: Rectangle, out: Int32Array = new Int32Array(r.w * r.h)): Int32Array {
    const inside = intersection(r, this.whole);
    if (!(inside.w === r.w && inside.h === r.h)) out.fill(ABSENT, 0, r.w * r.h);
    for (const [column, row] of this.touched(r)) {
      const tile = this.tiles.get(tileKey(column, row));
      const part = intersection(r, this.place(column, row));
      for (let y = part.y; y < part.y + part.h; y++) {
        const to = (y - r.y) * r.w + part.x - r.x;
        if (!tile) {
          out.fill(ABSENT, to, to + part.w);
          continue;
        }
        const from = (y - row * TILE) * TILE + part.x - column * TILE;
        out.set(tile.subarray(from, from + part.w), to);
      }
    }
    return out;
  }

  /** Writes the labels of a rectangle; what falls on tiles that are not loaded is left out, and so are ABSENT values. */
  write(r: Rectangle, labels: Int32Array): void {
    for (const [column, row] of this.touched(r)) {
      const tile = this.tiles.get(tileKey(column, row));
      if (!tile) continue;
      const part = intersection(r, this.place(column, row));
      for (let y = part.y; y < part.y + part.h; y++) {
        let from = (y - r.y) * r.w + part.x - r.x;
        let to = (y - row * TILE) * TILE + part.x - column * TILE;
        for (let i = 0; i < part.w; i++, from++, to++) {
          const value = labels[from]!;
          if (value !== ABSENT) tile[to] = value;
        }
      }
    }
  }
}
