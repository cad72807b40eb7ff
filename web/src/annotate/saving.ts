import type { EditAnswer } from "../api/contract";
import { Refused, Unreachable } from "../api/requests";

/** One thing to send. It is given the state of the drawing that the server named last. */
export interface Task {
  send: (edit: string) => Promise<EditAnswer>;
}

export type SaveState = "saved" | "saving" | "failed" | "conflict" | "refused";

export interface Conflict {
  edit: string;
  reason: "changed elsewhere" | "newer version";
}

export interface SaveListener {
  state(state: SaveState, detail: string): void;
  answered(answer: EditAnswer): void;
  conflict(conflict: Conflict): void;
}

const WAITS = [500, 1000, 2000, 4000, 8000, 15000];

/**
 * Sends tasks strictly one after another. After a failure of the network the same task is sent again, later and later; after
 * a refusal nothing more is sent until `resume` or `clear`.
 */
export class SaveQueue<T extends Task> {
  private tasks: T[] = [];
  private running = false;
  private halted = false;
  private wake: (() => void) | null = null;

  constructor(
    public edit: string,
    private readonly listener: SaveListener,
    private readonly sleep: (ms: number) => Promise<void> = (ms) => new Promise((done) => setTimeout(done, ms)),
  ) {}

  get pending(): readonly T[] {
    return this.tasks;
  }

  get idle(): boolean {
    return this.tasks.length === 0;
  }

  add(task: T): void {
    this.tasks.push(task);
    void this.run();
  }

  /** Drops what waits and starts anew from a state of the drawing. */
  clear(edit: string): T[] {
    const dropped = this.tasks;
    this.tasks = [];
    this.edit = edit;
    this.halted = false;
    this.listener.state("saved", "");
    return dropped;
  }

  /** Goes on from another state of the drawing, keeping what waits. */
  resume(edit: string): void {
    this.edit = edit;
    this.halted = false;
    if (this.idle) this.listener.state("saved", "");
    void this.run();
  }

  /** Tries at once instead of waiting. */
  hurry(): void {
    this.wake?.();
  }

  private async run(): Promise<void> {
    if (this.running || this.halted) return;
    this.running = true;
    let failures = 0;
    while (this.tasks.length && !this.halted) {
      const task = this.tasks[0]!;
      if (failures === 0) this.listener.state("saving", "");
      try {
        const answer = await task.send(this.edit);
        failures = 0;
        if (this.tasks[0] !== task) continue; // cleared meanwhile
        this.edit = answer.edit;
        this.tasks.shift();
        this.listener.answered(answer);
      } catch (error) {
        if (this.tasks[0] !== task) continue;
        if (error instanceof Refused) {
          this.halted = true;
          if (error.status === 409) {
            this.listener.state("conflict", "");
            this.listener.conflict({ edit: error.edit ?? this.edit, reason: error.reason ?? "changed elsewhere" });
          } else this.listener.state("refused", error.message);
          break;
        }
        this.listener.state("failed", error instanceof Unreachable ? error.message : String(error));
        const wait = WAITS[Math.min(failures++, WAITS.length - 1)]!;
        await Promise.race([this.sleep(wait), new Promise<void>((done) => (this.wake = done))]);
      }
    }
    this.running = false;
    if (!this.halted && this.idle) this.listener.state("saved", "");
  }
}
