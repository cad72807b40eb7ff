import { reversed, type Patch } from "./patch";

const BYTES_KEPT = 256 * 1024 * 1024;

/** What can be undone and redone, newest last. Old steps are forgotten when they take too much memory. */
export class History {
  private done: Patch[] = [];
  private undone: Patch[] = [];

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  add(patch: Patch): void {
    this.done.push(patch);
    this.undone = [];
    let bytes = 0;
    let kept = this.done.length;
    while (kept > 0) {
      bytes += 8 * this.done[kept - 1]!.after.length;
      if (bytes > BYTES_KEPT && kept < this.done.length) break;
      kept--;
    }
    this.done = this.done.slice(kept);
  }

  /** The patch that takes the newest step back. */
  undo(): Patch | null {
    const patch = this.done.pop();
    if (!patch) return null;
    this.undone.push(patch);
    return reversed(patch, "undo");
  }

  redo(): Patch | null {
    const patch = this.undone.pop();
    if (!patch) return null;
    this.done.push(patch);
    return { ...patch, tool: "redo" };
  }

  clear(): void {
    this.done = [];
    this.undone = [];
  }
}
