import { getLabels, Unreachable, type LabelSource } from "../api/requests";
import { intersection, union, type Rectangle } from "../drawing/rectangle";
import { LabelTiles, TILE, tileKey, type TileKey } from "../drawing/tiles";

const AT_ONCE = 4;
/** Tiles come in blocks of this many by this many: fewer requests, still quick to come. */
const BLOCK = 4;

interface Request {
  tiles: [number, number][];
  done: Promise<void>;
}

/** Fetches the tiles of a label map when they are wanted; each only once. */
export class TileLoader {
  private readonly pending = new Map<TileKey, Request>();
  private readonly waiting: (() => void)[] = [];
  private active = 0;
  private generation = 0;

  constructor(
    private readonly image: number,
    readonly tiles: LabelTiles,
    private readonly source: LabelSource,
    private readonly loaded: (tiles: [number, number][]) => void,
  ) {}

  /** Forgets requests under way: their answers are thrown away. */
  reset(): void {
    this.generation++;
    this.pending.clear();
  }

  async ensure(r: Rectangle): Promise<void> {
    await this.fetch(this.tiles.missing(r));
  }

  async fetch(wanted: [number, number][]): Promise<void> {
    const blocks = new Map<string, [number, number][]>();
    const waits = new Set<Promise<void>>();
    for (const [column, row] of wanted) {
      const known = this.pending.get(tileKey(column, row));
      if (known) {
        waits.add(known.done);
        continue;
      }
      const block = `${Math.floor(column / BLOCK)},${Math.floor(row / BLOCK)}`;
      blocks.set(block, [...(blocks.get(block) ?? []), [column, row]]);
    }
    for (const tiles of blocks.values()) {
      const request: Request = { tiles, done: this.load(tiles) };
      for (const [column, row] of tiles) this.pending.set(tileKey(column, row), request);
      waits.add(request.done);
    }
    await Promise.all(waits);
  }

  private async load(tiles: [number, number][]): Promise<void> {
    const generation = this.generation;
    if (this.active >= AT_ONCE) await new Promise<void>((go) => this.waiting.push(go));
    this.active++;
    try {
      let r: Rectangle = this.tiles.place(...tiles[0]!);
      for (const [column, row] of tiles) r = union(r, this.tiles.place(column, row));
      const labels = await this.labels(r);
      if (generation !== this.generation) return;
      for (const [column, row] of tiles) this.put(r, labels, column, row);
      this.loaded(tiles);
    } finally {
      this.active--;
      this.waiting.shift()?.();
      if (generation === this.generation) for (const [column, row] of tiles) this.pending.delete(tileKey(column, row));
    }
  }

  private async labels(r: Rectangle): Promise<Int32Array> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await getLabels(this.image, r, this.source);
      } catch (error) {
        if (!(error instanceof Unreachable) || attempt >= 5) throw error;
        await new Promise((go) => setTimeout(go, 500 * 2 ** attempt));
      }
    }
  }

  private put(r: Rectangle, labels: Int32Array, column: number, row: number): void {
    const tile = new Int32Array(TILE * TILE);
    const part = intersection(r, this.tiles.place(column, row));
    for (let y = part.y; y < part.y + part.h; y++) {
      const from = (y - r.y) * r.w + part.x - r.x;
      tile.set(labels.subarray(from, from + part.w), (y - row * TILE) * TILE + part.x - column * TILE);
    }
    this.tiles.tiles.set(tileKey(column, row), tile);
  }
}
