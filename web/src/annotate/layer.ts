import { getLabels, type LabelSource } from "../api/requests";
import { marginOf, paintLabels, type PaintStyle } from "../drawing/paint";
import { grown, intersection, isEmpty, union, NOTHING, type Rectangle } from "../drawing/rectangle";
import { LabelTiles, TILE, tileKey, type TileKey } from "../drawing/tiles";
import type { ImageView } from "./view";

interface Painted {
  canvas: HTMLCanvasElement;
  pen: CanvasRenderingContext2D;
  /** The part that does not show the labels as they are now. */
  stale: Rectangle;
}

export const MOST_TILES_SEEN = 100;
const MOST_PAINTED_KEPT = 160;
/** Time for painting in one frame. Nobody draws before all is painted, so it may take most of it. */
const BUDGET_MS = 24;
const OVERVIEW_SIDE = 1400;

/** The canvas with the objects, over the image. Tiles are painted one by one, and again only where labels changed. */
export class LabelLayer {
  private readonly pen: CanvasRenderingContext2D;
  private readonly painted = new Map<TileKey, Painted>();
  private frame = 0;
  private all = true;
  private part: Rectangle = NOTHING;
  private overview: HTMLCanvasElement | null = null;
  private overviewAsked = false;
  /** What the overview is asked of; null where no server has the labels that are shown. */
  private source: LabelSource | null = {};
  /** Width of outlines in image pixels, wider the further out. */
  line = 1;
  hidden = false;
  uncertainty: HTMLCanvasElement | null = null;
  uncertaintyOpacity = 0;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly view: ImageView,
    private tiles: LabelTiles,
    private readonly image: number,
    private readonly style: () => Omit<PaintStyle, "line">,
    private readonly drawn: (ready: boolean) => void,
  ) {
    this.pen = canvas.getContext("2d")!;
  }

  /** Shows another label map of the same image in its place: a version, or somebody else's, or what differs (no source). */
  show(tiles: LabelTiles, source: LabelSource | null): void {
    this.tiles = tiles;
    this.source = source;
    this.restyle();
  }

  get tooFarOut(): boolean {
    return this.tiles.touched(this.view.seen).length > MOST_TILES_SEEN;
  }

  /** Paints everything anew: the style changed. */
  restyle(): void {
    for (const tile of this.painted.values()) tile.stale = { x: 0, y: 0, w: TILE, h: TILE };
    this.overview = null;
    this.request();
  }

  /** Paints a part of the image anew: its labels changed. */
  changed(r: Rectangle): void {
    const wide = grown(r, marginOf(this));
    for (const [column, row] of this.tiles.touched(wide)) {
      const tile = this.painted.get(tileKey(column, row));
      if (!tile) continue;
      const part = intersection(wide, this.tiles.place(column, row));
      tile.stale = union(tile.stale, { ...part, x: part.x - column * TILE, y: part.y - row * TILE });
    }
    this.part = union(this.part, wide);
    this.overview = null;
    this.wake();
  }

  /** Draws all of the view anew: it moved, or tiles came. */
  request(): void {
    this.all = true;
    this.wake();
  }

  private wake(): void {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.render());
  }

  private render(): void {
    this.frame = 0;
    if (!this.view.ready) return this.drawn(false);
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.all = true;
    }
    const line = Math.max(1, Math.min(16, 2 ** Math.round(Math.log2(2.2 / this.view.scale))));
    if (line !== this.line) {
      this.line = line;
      this.restyle();
      cancelAnimationFrame(this.frame);
      this.frame = 0;
    }
    const far = this.tooFarOut;
    const finished = far || this.hidden || this.paintStale();
    this.compose(ratio, far);
    this.drawn(finished && !far && this.tiles.missing(this.view.seen).length === 0);
    if (!finished) this.request();
  }

  /** Paints what is stale among the seen tiles until time is up. Tells whether all is done. */
  private paintStale(): boolean {
    const until = performance.now() + BUDGET_MS;
    const style = { ...this.style(), line: this.line };
    const seen = this.tiles.touched(this.view.seen);
    for (const [column, row] of seen) {
      const key = tileKey(column, row);
      if (!this.tiles.has(column, row)) continue;
      let tile = this.painted.get(key);
      if (!tile) {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = TILE;
        tile = { canvas, pen: canvas.getContext("2d")!, stale: { x: 0, y: 0, w: TILE, h: TILE } };
        this.painted.set(key, tile);
        this.all = true;
      }
      if (isEmpty(tile.stale)) continue;
      if (performance.now() > until) return false;
      this.paint(tile, column, row, style);
    }
    if (this.painted.size > MOST_PAINTED_KEPT) this.forget(new Set(seen.map(([c, r]) => tileKey(c, r))));
    return true;
  }

  private paint(tile: Painted, column: number, row: number, style: PaintStyle): void {
    const r = tile.stale;
    const place = { x: column * TILE + r.x, y: row * TILE + r.y, w: r.w, h: r.h };
    const image = new ImageData(r.w, r.h);
    const labels = this.tiles.read(grown(place, marginOf(style)));
    paintLabels(labels, r.w, r.h, place.x, place.y, style, new Uint32Array(image.data.buffer));
    tile.pen.putImageData(image, r.x, r.y);
    tile.stale = NOTHING;
    this.part = union(this.part, place);
  }

  private forget(keep: Set<TileKey>): void {
    for (const key of [...this.painted.keys()]) if (!keep.has(key)) this.painted.delete(key);
  }

  private compose(ratio: number, far: boolean): void {
    const { view, pen } = this;
    const scale = view.scale * ratio;
    const x = (image: number): number => Math.round((image - view.originX) * scale);
    const y = (image: number): number => Math.round((image - view.originY) * scale);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.save();
    let region = view.seen;
    if (!this.all) {
      region = intersection(this.part, region);
      if (isEmpty(region)) return pen.restore();
      const left = x(region.x) - 1;
      const top = y(region.y) - 1;
      pen.beginPath();
      pen.rect(left, top, x(region.x + region.w) + 1 - left, y(region.y + region.h) + 1 - top);
      pen.clip();
    }
    this.all = false;
    this.part = NOTHING;
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const whole = this.tiles.whole;
    const fill = (picture: HTMLCanvasElement): void => pen.drawImage(picture, x(0), y(0), x(whole.w) - x(0), y(whole.h) - y(0));
    pen.imageSmoothingEnabled = scale < 1;
    if (!this.hidden) {
      if (far) this.drawOverview(fill);
      for (const [column, row] of far ? [] : this.tiles.touched(grown(region, 2))) {
        const tile = this.painted.get(tileKey(column, row));
        if (!tile || !this.tiles.has(column, row)) continue;
        const p = this.tiles.place(column, row);
        pen.drawImage(tile.canvas, 0, 0, p.w, p.h, x(p.x), y(p.y), x(p.x + p.w) - x(p.x), y(p.y + p.h) - y(p.y));
      }
    }
    pen.imageSmoothingEnabled = true;
    if (this.uncertainty && this.uncertaintyOpacity > 0) {
      pen.globalAlpha = this.uncertaintyOpacity;
      fill(this.uncertainty);
      pen.globalAlpha = 1;
    }
    pen.restore();
  }

  private drawOverview(fill: (picture: HTMLCanvasElement) => void): void {
    if (this.overview) fill(this.overview);
    else if (!this.overviewAsked && this.source) void this.fetchOverview(this.source);
  }

  private async fetchOverview(source: LabelSource): Promise<void> {
    this.overviewAsked = true;
    const { w, h } = this.tiles.whole;
    const step = Math.ceil(Math.max(w, h) / OVERVIEW_SIDE);
    try {
      const labels = await getLabels(this.image, this.tiles.whole, { ...source, step });
      if (source !== this.source) return; // something else is shown by now
      const small = new LabelTiles(Math.ceil(w / step), Math.ceil(h / step));
      small.create(small.whole);
      small.write(small.whole, labels);
      const padded = small.read(grown(small.whole, marginOf({ line: 1 })));
      const image = new ImageData(small.width, small.height);
      paintLabels(padded, small.width, small.height, 0, 0, { ...this.style(), line: 1 }, new Uint32Array(image.data.buffer));
      const canvas = document.createElement("canvas");
      canvas.width = small.width;
      canvas.height = small.height;
      canvas.getContext("2d")!.putImageData(image, 0, 0);
      this.overview = canvas;
      this.request();
    } catch {
      // Asked again when the view moves.
    } finally {
      this.overviewAsked = false;
      if (source !== this.source) this.request();
    }
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
  }
}
