import { effect, signal } from "@preact/signals";
import { uncertaintyOf } from "../api/requests";
import { boundsOf } from "../drawing/objects";
import type { PaintStyle } from "../drawing/paint";
import { LabelTiles } from "../drawing/tiles";
import type { Point } from "../drawing/shapes";
import { NOTHING, union, type Rectangle } from "../drawing/rectangle";
import type { ImageDrawing } from "./drawing";
import { LabelLayer } from "./layer";
import { TileLoader } from "./loading";
import * as settings from "./settings";
import { TOOLS } from "./tools";
import type { Press, Tool } from "./tools/tool";
import { ImageView } from "./view";

const MESSAGE_MS = 10_000;

/** The drawing of an image, its view and the active tool, brought together on the page. */
export class Stage {
  readonly view: ImageView;
  readonly layer: LabelLayer;
  tool: Tool;
  readonly message = signal("");
  readonly ready = signal(false);
  readonly farOut = signal(false);
  /** The object under the pointer, and where that is. */
  readonly under = signal<{ x: number; y: number; label: number } | null>(null);
  /** Set while something other than the drawing is shown: drawing is off. */
  readonly showing = signal<string | null>(null);
  private readonly pen: CanvasRenderingContext2D;
  private readonly stops: (() => void)[] = [];
  private frame = 0;
  private messageEnds: ReturnType<typeof setTimeout> | undefined;
  private selectedBefore = 0;
  private otherLoader: TileLoader | null = null;

  constructor(
    readonly drawing: ImageDrawing,
    readonly nClasses: number,
    imageElement: HTMLElement,
    labelCanvas: HTMLCanvasElement,
    readonly canvas: HTMLCanvasElement,
  ) {
    this.pen = canvas.getContext("2d")!;
    this.view = new ImageView(imageElement, drawing.detail.value, () => this.moved());
    this.layer = new LabelLayer(labelCanvas, this.view, drawing.tiles, drawing.id, () => this.style(), (ready) => this.drawn(ready));
    this.tool = TOOLS[settings.tool.value].make(this);
    drawing.repaint = (r) => (r ? this.layer.changed(r) : this.reloaded());
    this.stops.push(
      effect(() => this.changeTool(settings.tool.value)),
      effect(() => this.look()),
      effect(() => {
        void [settings.opacity.value, settings.outlinesOnly.value];
        this.layer.restyle();
      }),
      effect(() => this.selectionChanged(drawing.selected.value)),
    );
    const size = new ResizeObserver(() => this.moved());
    size.observe(canvas);
    this.stops.push(() => size.disconnect());
    if (drawing.detail.value.has_uncertainty) void this.loadUncertainty();
  }

  // ------------------------------------------------------------------------------------------------ looks

  private style(): Omit<PaintStyle, "line"> {
    const { drawing } = this;
    const own = this.showing.peek() === null;
    return {
      opacity: settings.opacity.peek(),
      outlinesOnly: settings.outlinesOnly.peek(),
      selected: own ? drawing.selected.peek() : 0,
      isProposed: own ? (label) => drawing.isProposed(label) : () => false,
      classOf: this.nClasses > 1 && own ? (label) => drawing.classes.get(label) ?? 0 : null,
    };
  }

  private look(): void {
    const { brightness, contrast, gamma } = settings;
    const filters = [];
    if (gamma.value !== 1) filters.push("url(#gamma)");
    if (brightness.value !== 1) filters.push(`brightness(${brightness.value})`);
    if (contrast.value !== 1) filters.push(`contrast(${contrast.value})`);
    this.view.setFilter(filters.join(" ") || "none");
    this.layer.hidden = settings.overlayHidden.value;
    this.layer.uncertaintyOpacity = settings.uncertaintyShown.value ? settings.uncertaintyOpacity.value : 0;
    this.layer.request();
  }

  /** Grey values become a colour from clear over purple to yellow. */
  private async loadUncertainty(): Promise<void> {
    const picture = new Image();
    picture.src = uncertaintyOf(this.drawing.id);
    try {
      await picture.decode();
    } catch {
      return;
    }
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const pen = canvas.getContext("2d", { willReadFrequently: true })!;
    pen.drawImage(picture, 0, 0);
    const data = pen.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.data.length; i += 4) {
      const v = data.data[i]! / 255;
      data.data[i] = 120 + 135 * v;
      data.data[i + 1] = 240 * v * v;
      data.data[i + 2] = 200 * (1 - v);
      data.data[i + 3] = 255 * Math.min(1, 3 * v);
    }
    pen.putImageData(data, 0, 0);
    this.layer.uncertainty = canvas;
    this.layer.request();
  }

  private selectionChanged(now: number): void {
    const { tiles } = this.drawing;
    const areas = [this.selectedBefore, now].map((label) => (label ? boundsOf(tiles, label) : NOTHING));
    this.selectedBefore = now;
    for (const area of areas) if (area.w) this.layer.changed(area);
  }

  // ------------------------------------------------------------------------------------------------ following the view

  private moved(): void {
    const { view, canvas } = this;
    canvas.dataset.scale = String(view.scale);
    canvas.dataset.originX = String(view.originX);
    canvas.dataset.originY = String(view.originY);
    canvas.dataset.ready = "false";
    this.layer.request();
    this.redraw();
    void this.load();
  }

  private async load(): Promise<void> {
    const { view, drawing, layer } = this;
    if (!view.ready) return;
    const far = layer.tooFarOut;
    if (far !== this.farOut.peek()) this.farOut.value = far;
    if (far) return;
    try {
      if (this.otherLoader) return await this.otherLoader.ensure(view.seen);
      await drawing.loader.ensure(view.seen);
      // The rest comes after what is seen: counts and edits of whole objects need it.
      if (drawing.loadsWhole) await drawing.loader.ensure(drawing.tiles.whole);
      else drawing.forgetOutside(view.seen);
    } catch (error) {
      this.tell(error instanceof Error ? error.message : String(error));
    }
  }

  private reloaded(): void {
    this.layer.restyle();
    void this.load();
  }

  private drawn(ready: boolean): void {
    const text = String(ready);
    if (this.canvas.dataset.ready !== text) this.canvas.dataset.ready = text;
    if (this.ready.peek() !== ready) this.ready.value = ready;
  }

  // ------------------------------------------------------------------------------------------------ tools

  private changeTool(name: settings.ToolName): void {
    this.tool.cancel();
    this.tool = TOOLS[name].make(this);
    this.canvas.style.cursor = this.tool.cursor;
    this.redraw();
  }

  labelAt(p: Point): number {
    return Math.max(0, this.drawing.tiles.get(Math.floor(p.x), Math.floor(p.y)));
  }

  /** Whether drawing is possible now; says why if it is not. */
  mayDraw(): boolean {
    const { drawing } = this;
    if (drawing.blocked) this.tell("Drawing has stopped until the conflict is resolved.");
    else if (this.showing.value) this.tell("This is a preview. Close it to draw.");
    else if (this.farOut.value) this.tell("Zoom in to draw.");
    else if (settings.overlayHidden.value) this.tell("The objects are hidden. Press H to show them.");
    else if (drawing.tiles.missing(this.view.seen).length) this.tell("The labels are still coming.");
    else return true;
    return false;
  }

  classOfNew(label: number): { classes?: Record<number, number> } {
    return this.nClasses > 1 ? { classes: { [label]: Math.min(settings.currentClass.value, this.nClasses - 1) } } : {};
  }

  tell(text: string): void {
    // The same words again are told again.
    this.message.value = "";
    this.message.value = text;
    clearTimeout(this.messageEnds);
    this.messageEnds = setTimeout(() => (this.message.value = ""), MESSAGE_MS);
  }

  pointAt(at: Press): void {
    const x = Math.floor(at.x);
    const y = Math.floor(at.y);
    const old = this.under.peek();
    if (!old || old.x !== x || old.y !== y) this.under.value = { x, y, label: this.labelAt(at) };
  }

  // ------------------------------------------------------------------------------------------------ what lies on top

  redraw(): void {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.drawTop());
  }

  private drawTop(): void {
    this.frame = 0;
    const { canvas, pen, view } = this;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const { window, slide } = this.drawing.detail.value;
    if (window || slide) this.drawWindow(window ? 0.6 : 0.3);
    if (view.ready) this.tool.draw?.(pen);
  }

  /** Darkens what is not drawn on: the rest of the image, or of the slide. */
  private drawWindow(strength: number): void {
    const { pen, view, canvas } = this;
    const r = this.drawing.within;
    const a = view.toView(r);
    const b = view.toView({ x: r.x + r.w, y: r.y + r.h });
    pen.beginPath();
    pen.rect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.rect(a.x, a.y, b.x - a.x, b.y - a.y);
    pen.fillStyle = `rgb(10 14 20 / ${strength})`;
    pen.fill("evenodd");
    pen.setLineDash([8, 6]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = "rgb(255 255 255 / 0.85)";
    pen.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
    pen.setLineDash([]);
  }

  // ------------------------------------------------------------------------------------------------ other label maps

  /** Shows a version (or, without a number, the server's drawing as it is now) instead of the drawing. */
  async showOther(name: string, version: number | null, difference = false): Promise<void> {
    const { drawing } = this;
    const tiles = new LabelTiles(drawing.tiles.width, drawing.tiles.height);
    const shown = difference ? new LabelTiles(tiles.width, tiles.height) : tiles;
    this.otherLoader = new TileLoader(drawing.id, tiles, version === null ? {} : { version }, (came) => {
      if (difference) for (const [column, row] of came) markDifference(drawing.tiles, tiles, shown, tiles.place(column, row));
      let r: Rectangle = NOTHING;
      for (const [column, row] of came) r = union(r, tiles.place(column, row));
      this.layer.changed(r);
    });
    this.showing.value = name;
    this.layer.show(shown, difference ? null : version === null ? {} : { version });
    await this.load();
  }

  showOwn(): void {
    if (this.showing.peek() === null) return;
    this.otherLoader = null;
    this.showing.value = null;
    this.layer.show(this.drawing.tiles, {});
    void this.load();
  }

  destroy(): void {
    this.tool.cancel();
    this.stops.forEach((stop) => stop());
    cancelAnimationFrame(this.frame);
    clearTimeout(this.messageEnds);
    this.drawing.repaint = () => undefined;
    this.layer.destroy();
    this.view.destroy();
  }
}

/** Writes 5 where two label maps differ and 0 where they agree. */
function markDifference(mine: LabelTiles, theirs: LabelTiles, out: LabelTiles, r: Rectangle): void {
  out.create(r);
  const a = mine.read(r);
  const b = theirs.read(r);
  out.write(r, a.map((label, i) => (label === b[i] ? 0 : 5)));
}
