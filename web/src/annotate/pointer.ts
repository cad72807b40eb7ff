import type { Stage } from "./stage";
import type { Press } from "./tools/tool";

interface Place {
  x: number;
  y: number;
}

/** Turns pointer and wheel events over the drawing into tool presses, and into moves of the view. */
export class PointerInput {
  private readonly down = new Map<number, Place>();
  private mode: "none" | "draw" | "pan" | "pinch" = "none";
  private readonly stop = new AbortController();
  spaceHeld = false;

  constructor(private readonly stage: Stage) {
    const { canvas } = stage;
    const on = <K extends keyof HTMLElementEventMap>(name: K, handle: (event: HTMLElementEventMap[K]) => void): void =>
      canvas.addEventListener(name, handle, { signal: this.stop.signal, passive: false });
    on("pointerdown", (event) => this.pressed(event));
    on("pointermove", (event) => this.moved(event));
    on("pointerup", (event) => this.released(event));
    on("pointercancel", (event) => this.lost(event));
    on("pointerleave", () => (this.stage.under.value = null));
    on("contextmenu", (event) => event.preventDefault());
    on("dblclick", (event) => this.stage.tool.doubleClick?.(this.press(event)));
    on("wheel", (event) => {
      event.preventDefault();
      this.stage.view.wheel(event);
    });
  }

  private press(event: MouseEvent): Press {
    const touch = event instanceof PointerEvent && event.pointerType === "touch";
    return { ...this.stage.view.toImage(event.clientX, event.clientY), shift: event.shiftKey, touch };
  }

  private pressed(event: PointerEvent): void {
    const { stage } = this;
    event.preventDefault();
    stage.canvas.focus({ preventScroll: true });
    stage.canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.down.size === 2) {
      if (this.mode === "draw") {
        if (stage.tool.interrupted) stage.tool.interrupted();
        else stage.tool.cancel();
      }
      this.mode = "pinch";
    } else if (this.down.size === 1) {
      const pans = event.button === 1 || event.button === 2 || (event.button === 0 && this.spaceHeld);
      this.mode = pans ? "pan" : "draw";
      stage.canvas.style.cursor = pans ? "grabbing" : stage.tool.cursor;
      if (!pans) stage.tool.down(this.press(event));
    }
  }

  private moved(event: PointerEvent): void {
    const { stage } = this;
    const before = this.down.get(event.pointerId);
    stage.pointAt(this.press(event));
    if (!before) return stage.tool.hover?.(this.press(event));
    if (this.mode === "draw") {
      const all = event.getCoalescedEvents?.() ?? [];
      stage.tool.move?.((all.length ? all : [event]).map((e) => this.press(e)));
      stage.redraw();
    } else if (this.mode === "pan") stage.view.panBy(event.clientX - before.x, event.clientY - before.y);
    else if (this.mode === "pinch") this.pinch(event, before);
    this.down.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  private pinch(event: PointerEvent, before: Place): void {
    const other = [...this.down].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    const now = { x: event.clientX, y: event.clientY };
    const length = (a: Place): number => Math.max(10, Math.hypot(a.x - other.x, a.y - other.y));
    this.stage.view.panBy((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.stage.view.zoomAt((now.x + other.x) / 2, (now.y + other.y) / 2, length(now) / length(before), true);
  }

  private released(event: PointerEvent): void {
    if (!this.down.delete(event.pointerId)) return;
    if (this.mode === "draw") this.stage.tool.up?.(this.press(event));
    // After a pinch the finger that is left does nothing until it is lifted, too.
    if (this.down.size === 0) this.rest();
  }

  private lost(event: PointerEvent): void {
    this.down.delete(event.pointerId);
    if (this.mode === "draw") this.stage.tool.cancel();
    if (this.down.size === 0) this.rest();
  }

  private rest(): void {
    this.mode = "none";
    this.stage.canvas.style.cursor = this.spaceHeld ? "grab" : this.stage.tool.cursor;
  }

  holdSpace(held: boolean): void {
    this.spaceHeld = held;
    if (this.mode === "none") this.stage.canvas.style.cursor = held ? "grab" : this.stage.tool.cursor;
  }

  get drawing(): boolean {
    return this.mode === "draw";
  }

  destroy(): void {
    this.stop.abort();
  }
}
