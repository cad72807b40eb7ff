import type { Recorder } from "../../drawing/patch";
import { BACKGROUND } from "../../drawing/tiles";
import { drawSegment, type Ink } from "../../drawing/shapes";
import { brushSize } from "../settings";
import type { Stage } from "../stage";
import { strokeTwice, type Press, type Tool } from "./tool";

/** Brush and eraser: a round tip that sets or clears the pixels of one object. */
abstract class Tip implements Tool {
  readonly cursor = "none";
  protected abstract readonly name: string;
  private recorder: Recorder | null = null;
  private ink: Ink | null = null;
  private last: Press | null = null;
  private pointer: Press | null = null;

  constructor(protected readonly stage: Stage) {}

  protected abstract inkFor(at: Press): Ink | null;

  protected finished(_label: number): { classes?: Record<number, number> } {
    return {};
  }

  down(at: Press): void {
    if (!this.stage.mayDraw()) return;
    this.ink = this.inkFor(at);
    if (!this.ink) return;
    this.recorder = this.stage.drawing.record();
    this.last = at;
    this.cover(at, at);
  }

  move(at: readonly Press[]): void {
    for (const p of at) {
      if (this.recorder && this.last) this.cover(this.last, p);
      this.last = p;
    }
    this.pointer = at.at(-1) ?? this.pointer;
  }

  private cover(from: Press, to: Press): void {
    drawSegment(this.recorder!, from, to, brushSize.value / 2, this.ink!);
    this.stage.layer.changed(this.recorder!.takeFresh());
    this.pointer = to;
  }

  up(): void {
    const { recorder, ink } = this;
    this.recorder = null;
    if (recorder && ink) void this.stage.drawing.commit(recorder.finish(this.name), this.finished(ink.label));
  }

  hover(at: Press): void {
    this.pointer = at.touch ? null : at;
    this.stage.redraw();
  }

  cancel(): boolean {
    const { recorder } = this;
    this.recorder = null;
    if (!recorder) return false;
    this.stage.layer.changed(recorder.revert());
    return true;
  }

  draw(pen: CanvasRenderingContext2D): void {
    if (!this.pointer) return;
    const at = this.stage.view.toView(this.pointer);
    pen.beginPath();
    pen.arc(at.x, at.y, Math.max(1.5, (brushSize.value / 2) * this.stage.view.scale), 0, 2 * Math.PI);
    strokeTwice(pen);
  }
}

export class Brush extends Tip {
  protected readonly name = "brush";
  private fresh = false;

  protected inkFor(at: Press): Ink {
    const { drawing } = this.stage;
    const under = this.stage.labelAt(at);
    const selected = drawing.selected.value;
    // With Shift the object under the pointer may be the one to be taken from, so the selected one comes first.
    const label = at.shift ? selected || under : under || selected;
    this.fresh = label === 0;
    const own = label || drawing.nextLabel;
    return { label: own, within: drawing.within, may: at.shift ? () => true : (old) => old <= 0 };
  }

  protected override finished(label: number): { classes?: Record<number, number> } {
    return this.fresh ? this.stage.classOfNew(label) : {};
  }
}

export class Eraser extends Tip {
  protected readonly name = "eraser";

  protected inkFor(at: Press): Ink | null {
    const { drawing } = this.stage;
    const label = drawing.selected.value || this.stage.labelAt(at);
    if (at.shift) return { label: BACKGROUND, within: drawing.within, may: () => true };
    if (label === 0) {
      this.stage.tell("Press on the object to erase from, select one first, or hold Shift to erase everything.");
      return null;
    }
    return { label: BACKGROUND, within: drawing.within, may: (old) => old === label };
  }
}
