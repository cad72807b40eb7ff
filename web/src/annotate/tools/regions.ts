import { BACKGROUND } from "../../drawing/tiles";
import { cutPieces, enclosedBackground, objectUnder } from "../../drawing/regions";
import type { Point } from "../../drawing/shapes";
import type { Stage } from "../stage";
import { path, strokeTwice, type Press, type Tool } from "./tool";

/** Fills the hole that is clicked. */
export class Fill implements Tool {
  readonly cursor = "crosshair";

  constructor(private readonly stage: Stage) {}

  down(at: Press): void {
    if (this.stage.mayDraw()) void this.fill(Math.floor(at.x), Math.floor(at.y));
  }

  cancel(): boolean {
    return false;
  }

  private async fill(x: number, y: number): Promise<void> {
    const { drawing, stage } = { drawing: this.stage.drawing, stage: this.stage };
    let found = enclosedBackground(drawing.tiles, x, y, drawing.within);
    for (let i = 0; found.kind === "absent" && i < 64; i++) {
      await drawing.loader.ensure({ x: found.x, y: found.y, w: 1, h: 1 });
      found = enclosedBackground(drawing.tiles, x, y, drawing.within);
    }
    if (found.kind === "object") return stage.tell("This is an object already. Click on a hole.");
    if (found.kind !== "region") return stage.tell("Nothing encloses this background, so it was not filled.");
    const selected = drawing.selected.value;
    const most = [...found.neighbours].sort((a, b) => b[1] - a[1])[0]?.[0];
    const label = found.neighbours.has(selected) ? selected : most;
    if (!label) return stage.tell("Nothing encloses this background, so it was not filled.");
    const recorder = drawing.record();
    const { place, pixels } = found.region;
    for (const at of pixels) {
      const column = place.x + (at % place.w);
      recorder.setRun(place.y + Math.floor(at / place.w), column, column, label, () => true);
    }
    stage.layer.changed(recorder.place);
    await drawing.commit(recorder.finish("fill"));
  }
}

/** Cuts an object along a line that is drawn across it. */
export class Split implements Tool {
  readonly cursor = "crosshair";
  private line: Point[] = [];

  constructor(private readonly stage: Stage) {}

  down(at: Press): void {
    if (this.stage.mayDraw()) this.line = [{ x: at.x, y: at.y }];
  }

  move(at: readonly Press[]): void {
    if (!this.line.length) return;
    for (const p of at) this.line.push({ x: p.x, y: p.y });
    this.stage.redraw();
  }

  up(): void {
    const line = this.line;
    this.cancel();
    if (line.length > 1) void this.cut(line);
  }

  cancel(): boolean {
    const had = this.line.length > 0;
    this.line = [];
    this.stage.redraw();
    return had;
  }

  private async cut(line: Point[]): Promise<void> {
    const { stage } = this;
    const { drawing } = stage;
    const label = drawing.selected.value || objectUnder(drawing.tiles, line);
    if (!label) return stage.tell("Draw the line across an object.");
    const place = await drawing.ensureObject(label);
    const cut = cutPieces(drawing.tiles.read(place), place, label, line);
    if (!cut) return stage.tell("The line has to go all the way across the object.");
    const first = drawing.nextLabel;
    const recorder = drawing.record();
    cut.pieces.forEach((piece, i) => {
      const x = place.x + (i % place.w);
      if (piece > 1) recorder.setRun(place.y + Math.floor(i / place.w), x, x, first + piece - 2, () => true);
    });
    const classes: Record<number, number> = {};
    const own = drawing.classes.get(label);
    for (let piece = 2; piece <= cut.count; piece++) if (own !== undefined) classes[first + piece - 2] = own;
    stage.layer.changed(recorder.place);
    await drawing.commit(recorder.finish("split"), { classes, accept: [label] });
    stage.tell(`Split into ${cut.count} objects.`);
  }

  draw(pen: CanvasRenderingContext2D): void {
    if (this.line.length < 2) return;
    path(pen, this.stage, this.line);
    strokeTwice(pen, [6, 5]);
  }
}

/** Makes two objects one: click both, or drag from one to the other. */
export class Merge implements Tool {
  readonly cursor = "crosshair";
  private first = 0;
  private from: Point | null = null;
  private to: Point | null = null;

  constructor(private readonly stage: Stage) {}

  down(at: Press): void {
    if (!this.stage.mayDraw()) return;
    const label = this.stage.labelAt(at);
    if (!label) return this.stage.tell("Click an object, then the one to be joined to it.");
    if (this.first && this.first !== label) {
      const first = this.first;
      this.cancel();
      void this.merge(first, label);
      return;
    }
    this.first = label;
    this.from = this.to = { x: at.x, y: at.y };
    this.stage.drawing.selected.value = label;
  }

  move(at: readonly Press[]): void {
    if (this.from) this.to = at.at(-1) ?? this.to;
    this.stage.redraw();
  }

  hover(at: Press): void {
    if (this.from) this.to = at;
    this.stage.redraw();
  }

  up(at: Press): void {
    const label = this.stage.labelAt(at);
    if (!this.first || !label || label === this.first) return;
    const first = this.first;
    this.cancel();
    void this.merge(first, label);
  }

  cancel(): boolean {
    const had = this.first > 0;
    if (had) this.stage.drawing.selected.value = 0;
    this.first = 0;
    this.from = this.to = null;
    this.stage.redraw();
    return had;
  }

  private async merge(first: number, second: number): Promise<void> {
    const { stage } = this;
    await replaceObject(stage, second, first, "merge", first);
    stage.tell(`Object ${second} is now part of object ${first}.`);
  }

  draw(pen: CanvasRenderingContext2D): void {
    if (!this.from || !this.to) return;
    path(pen, this.stage, [this.from, this.to]);
    strokeTwice(pen, [2, 5]);
  }
}

/** Gives all pixels of an object another label, or none. */
async function replaceObject(stage: Stage, label: number, by: number, tool: string, accept?: number): Promise<void> {
  const { drawing } = stage;
  const place = await drawing.ensureObject(label);
  const recorder = drawing.record();
  const only = (old: number): boolean => old === label;
  for (let y = place.y; y < place.y + place.h; y++) recorder.setRun(y, place.x, place.x + place.w - 1, by, only);
  stage.layer.changed(place);
  await drawing.commit(recorder.finish(tool), {
    classes: drawing.classes.has(label) ? { [label]: null } : {},
    ...(accept ? { accept: [accept] } : {}),
  });
}

export async function deleteObject(stage: Stage, label: number): Promise<void> {
  stage.drawing.selected.value = 0;
  await replaceObject(stage, label, BACKGROUND, "delete");
}

/** Chooses objects; dragging moves the image. */
export class Select implements Tool {
  readonly cursor = "default";
  private from: Press | null = null;

  constructor(private readonly stage: Stage) {}

  down(at: Press): void {
    this.from = at;
  }

  move(at: readonly Press[]): void {
    const to = at.at(-1);
    const { from, stage } = this;
    if (!from || !to) return;
    const { scale } = stage.view;
    const far = Math.hypot(to.x - from.x, to.y - from.y) * scale;
    if (far > 4 || this.dragging) {
      this.dragging = true;
      stage.view.panBy((to.x - from.x) * scale, (to.y - from.y) * scale);
    }
  }

  private dragging = false;

  up(at: Press): void {
    if (!this.dragging) this.stage.drawing.selected.value = this.stage.labelAt(at);
    this.from = null;
    this.dragging = false;
  }

  cancel(): boolean {
    const had = this.dragging;
    this.from = null;
    this.dragging = false;
    return had;
  }
}

