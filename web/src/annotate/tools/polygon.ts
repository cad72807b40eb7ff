import { intersection } from "../../drawing/rectangle";
import { around, fillPolygon, type Point } from "../../drawing/shapes";
import type { Stage } from "../stage";
import { path, strokeTwice, type Press, type Tool } from "./tool";

const CLOSE_ENOUGH = 9;

/** Click by click around an object. */
export class Polygon implements Tool {
  readonly cursor = "crosshair";
  private points: Point[] = [];
  private shift = false;
  private pointer: Press | null = null;

  constructor(private readonly stage: Stage) {}

  down(at: Press): void {
    if (!this.stage.mayDraw()) return;
    this.pointer = at;
    this.shift = at.shift;
    const first = this.points[0];
    if (first && this.points.length > 2 && this.near(first, at)) return this.close();
    const last = this.points.at(-1);
    // The second click of a double click adds nothing.
    if (!last || !this.near(last, at, 3)) this.points.push({ x: at.x, y: at.y });
    this.stage.redraw();
  }

  private near(a: Point, b: Point, distance = CLOSE_ENOUGH): boolean {
    return Math.hypot(a.x - b.x, a.y - b.y) * this.stage.view.scale <= distance;
  }

  move(at: readonly Press[]): void {
    const to = at.at(-1);
    if (to) this.hover(to);
  }

  hover(at: Press): void {
    this.pointer = at;
    if (this.points.length) this.stage.redraw();
  }

  doubleClick(): void {
    this.close();
  }

  key(key: string): boolean {
    if (!this.points.length) return false;
    if (key === "Enter") this.close();
    else if (key === "Backspace") this.points.pop();
    else return false;
    this.stage.redraw();
    return true;
  }

  cancel(): boolean {
    const had = this.points.length > 0;
    this.points = [];
    this.stage.redraw();
    return had;
  }

  interrupted(): void {
    this.points.pop();
    this.pointer = null;
    this.stage.redraw();
  }

  private close(): void {
    const { points, shift } = this;
    if (points.length < 3) return;
    this.points = [];
    this.stage.redraw();
    const { drawing } = this.stage;
    const area = intersection(around(points), drawing.within);
    if (drawing.tiles.missing(area).length === 0) return this.fill(points, shift);
    // Of a large object only the rim may have been on the screen.
    drawing.loader.ensure(area).then(
      () => this.fill(points, shift),
      (error: unknown) => {
        this.points = points;
        this.stage.tell(`The polygon could not be filled: ${error instanceof Error ? error.message : String(error)}`);
        this.stage.redraw();
      },
    );
  }

  private fill(points: readonly Point[], shift: boolean): void {
    const { drawing } = this.stage;
    const label = drawing.selected.value || drawing.nextLabel;
    const recorder = drawing.record();
    fillPolygon(recorder, points, { label, within: drawing.within, may: shift ? () => true : (old) => old <= 0 });
    this.stage.layer.changed(recorder.place);
    void drawing.commit(recorder.finish("polygon"), drawing.selected.value ? {} : this.stage.classOfNew(label));
    this.stage.redraw();
  }

  draw(pen: CanvasRenderingContext2D): void {
    const first = this.points[0];
    if (!first) return;
    path(pen, this.stage, this.pointer ? [...this.points, this.pointer] : this.points);
    strokeTwice(pen);
    for (const p of this.points) {
      const at = this.stage.view.toView(p);
      pen.beginPath();
      pen.arc(at.x, at.y, p === first ? 6 : 3, 0, 2 * Math.PI);
      pen.fillStyle = p === first ? "rgb(0 114 178)" : "#fff";
      pen.fill();
      strokeTwice(pen);
    }
  }
}
