import type { Point } from "../../drawing/shapes";
import type { Stage } from "../stage";

/** A place in the image where the pointer is, with what matters of the event. */
export interface Press extends Point {
  /** Whether Shift is held: take over what belongs to others. */
  shift: boolean;
  touch: boolean;
}

/** What the pointer does. One is active; it lives as long as it is chosen. */
export interface Tool {
  /** CSS cursor over the image. */
  readonly cursor: string;
  down(at: Press): void;
  move?(at: readonly Press[]): void;
  up?(at: Press): void;
  /** The pointer moved without being pressed. */
  hover?(at: Press): void;
  /** Gives up what was begun: a second finger came, or Escape was pressed. Tells whether there was anything. */
  cancel(): boolean;
  /** A second finger came down: what the first one just began is not meant. Without it, `cancel` is called. */
  interrupted?(): void;
  key?(key: string): boolean;
  doubleClick?(at: Press): void;
  /** Draws what is not yet in the labels, in CSS pixels of the view. */
  draw?(pen: CanvasRenderingContext2D): void;
}

export type ToolMaker = (stage: Stage) => Tool;

/** Lines that can be seen on any image: light over dark. */
export function strokeTwice(pen: CanvasRenderingContext2D, dash: number[] = []): void {
  pen.lineJoin = pen.lineCap = "round";
  pen.setLineDash([]);
  pen.strokeStyle = "rgb(0 0 0 / 0.7)";
  pen.lineWidth = 3.5;
  pen.stroke();
  pen.setLineDash(dash);
  pen.strokeStyle = "#fff";
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.setLineDash([]);
}

export function path(pen: CanvasRenderingContext2D, stage: Stage, points: readonly Point[]): void {
  pen.beginPath();
  points.forEach((p, i) => {
    const at = stage.view.toView(p);
    if (i) pen.lineTo(at.x, at.y);
    else pen.moveTo(at.x, at.y);
  });
}
