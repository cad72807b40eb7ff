import { signal } from "@preact/signals";
import { getImage, getOpenProposals, getVersions, postStroke, postVersion, resolveConflict, restoreVersion, startFrom } from "../api/requests";
import type { EditAnswer, ImageDetail } from "../api/contract";
import { deflateAside } from "../drawing/deflating";
import { History } from "../drawing/history";
import { ObjectIndex, boundsOf, tilesGoingOn } from "../drawing/objects";
import { Recorder, isIdle, isWhole, pieces, type Patch } from "../drawing/patch";
import { rebased } from "../drawing/rebase";
import { isEmpty, union, NOTHING, type Rectangle } from "../drawing/rectangle";
import { ABSENT, LabelTiles, TILE } from "../drawing/tiles";
import { TileLoader } from "./loading";
import { SaveQueue, type Conflict, type SaveState, type Task } from "./saving";

interface DrawingTask extends Task {
  patch: Patch | null;
}

const MOST_TILES_LOADED_WHOLE = 100;
const MOST_TILES_KEPT = 256;

/** The drawing of one image: labels, classes, what is accepted, what can be undone, and what is still to be saved. */
export class ImageDrawing {
  readonly tiles: LabelTiles;
  readonly index = new ObjectIndex();
  readonly history = new History();
  readonly loader: TileLoader;
  readonly queue: SaveQueue<DrawingTask>;
  readonly detail = signal<ImageDetail>(null!);
  readonly saveState = signal<SaveState>("saved");
  readonly saveDetail = signal("");
  readonly conflict = signal<Conflict | null>(null);
  readonly selected = signal(0);
  /** Counts changes; whoever shows figures of the drawing reads it to be told. */
  readonly revision = signal(0);
  classes = new Map<number, number>();
  accepted = new Set<number>();
  nextLabel = 1;
  /** Called with the part of the image to be painted again; null for all of it. */
  repaint: (r: Rectangle | null) => void = () => undefined;
  private savedNext = 1;
  /** The first number that was free when the drawing was opened: objects from here on were drawn, not proposed. */
  private firstOwn = 1;
  private changedSinceVersion = false;

  constructor(detail: ImageDetail) {
    this.tiles = new LabelTiles(detail.width, detail.height);
    this.loader = new TileLoader(detail.id, this.tiles, {}, (tiles) => this.tilesCame(tiles));
    this.queue = new SaveQueue(detail.edit, {
      state: (state, text) => {
        this.saveState.value = state;
        this.saveDetail.value = text;
      },
      answered: (answer) => this.answered(answer),
      conflict: (conflict) => (this.conflict.value = conflict),
    });
    this.take(detail);
  }

  get id(): number {
    return this.detail.value.id;
  }

  /** Where drawing is allowed. */
  get within(): Rectangle {
    const w = this.detail.value.window;
    return w ? { x: w[0], y: w[1], w: w[2], h: w[3] } : this.tiles.whole;
  }

  get isProposal(): boolean {
    return this.detail.value.base === "proposal";
  }

  get blocked(): boolean {
    return this.saveState.value === "conflict" || this.saveState.value === "refused";
  }

  get loadsWhole(): boolean {
    return this.tiles.columns * this.tiles.rows <= MOST_TILES_LOADED_WHOLE;
  }

  isProposed(label: number): boolean {
    return this.isProposal && label < this.firstOwn && !this.accepted.has(label);
  }

  /** The objects of the loaded tiles that are proposed and that nobody has looked at. */
  openProposals(): number[] {
    return [...this.index.objects.keys()].filter((label) => this.isProposed(label));
  }

  /** The same of the whole image; after all strokes are stored, as the server knows them. */
  async allOpenProposals(): Promise<number[]> {
    if (!this.isProposal) return [];
    if (this.loadsWhole && !this.tiles.missing(this.tiles.whole).length) return this.openProposals();
    let open: number[] = [];
    await this.inOrder(async (edit) => {
      open = await getOpenProposals(this.id);
      return { edit };
    });
    return open.filter((label) => this.isProposed(label));
  }

  private take(detail: ImageDetail): void {
    this.detail.value = detail;
    this.classes = new Map(Object.entries(detail.object_classes).map(([label, c]) => [Number(label), c]));
    this.accepted = new Set(detail.accepted);
    this.nextLabel = this.savedNext = this.firstOwn = detail.next_label;
  }

  private tilesCame(came: [number, number][]): void {
    for (const [column, row] of came) {
      this.index.addTile(this.tiles, column, row);
      this.repaint(this.tiles.place(column, row));
    }
    this.revision.value++;
  }

  private answered(answer: EditAnswer): void {
    if (answer.next_label !== undefined) {
      this.savedNext = answer.next_label;
      // Only strokes are answered with a next label.
      if (this.detail.value.state !== "draft") this.detail.value = { ...this.detail.value, state: "draft", has_draft: true };
      this.nextLabel = Math.max(this.nextLabel, answer.next_label);
    }
  }

  /** Loads the tiles that an object reaches, as far as it can be followed. */
  async ensureObject(label: number): Promise<Rectangle> {
    for (let more = tilesGoingOn(this.tiles, label); more.length; more = tilesGoingOn(this.tiles, label)) await this.loader.fetch(more);
    return boundsOf(this.tiles, label);
  }

  /** Lets go of tiles far from what is seen, when nothing waits to be saved. */
  forgetOutside(seen: Rectangle): void {
    if (this.loadsWhole || this.tiles.tiles.size <= MOST_TILES_KEPT || !this.queue.idle) return;
    const keep = new Set(this.tiles.touched({ x: seen.x - TILE, y: seen.y - TILE, w: seen.w + 2 * TILE, h: seen.h + 2 * TILE }).map(String));
    for (const key of [...this.tiles.tiles.keys()]) {
      if (keep.has(key)) continue;
      const [column, row] = key.split(",").map(Number) as [number, number];
      this.index.addTile(this.tiles, column, row, -1);
      this.tiles.tiles.delete(key);
    }
  }

  record(): Recorder {
    return new Recorder(this.tiles);
  }

  /** Takes a step that is already in the tiles: counts, remembers and sends it. */
  async commit(recorded: Patch, more: { classes?: Record<number, number | null>; accept?: readonly number[] } = {}): Promise<void> {
    const patch = { ...recorded };
    if (!isWhole(patch.after)) await this.complete(patch);
    const touched = this.index.change(patch.place, patch.before, patch.after);
    patch.classesAfter = { ...more.classes };
    for (const label of touched.keys()) {
      if (!this.index.objects.has(label) && this.loadsWhole && this.classes.has(label)) patch.classesAfter[label] = null;
      this.nextLabel = Math.max(this.nextLabel, label + 1);
    }
    patch.classesBefore = Object.fromEntries(Object.keys(patch.classesAfter).map((label) => [label, this.classes.get(Number(label)) ?? null]));
    if (this.isProposal) {
      const now = new Set([...this.accepted, ...touched.keys(), ...(more.accept ?? [])]);
      if (now.size !== this.accepted.size) {
        patch.acceptedBefore = [...this.accepted];
        patch.acceptedAfter = [...now];
      }
    }
    if (isIdle(patch)) return;
    this.history.add(patch);
    this.apply(patch, touched, true);
  }

  /** A rectangle is sent whole, so parts of it that are not loaded (and were not changed) are fetched first. */
  private async complete(patch: Patch): Promise<void> {
    await this.loader.ensure(patch.place);
    const labels = this.tiles.read(patch.place);
    for (const half of ["before", "after"] as const) patch[half] = patch[half].map((label, i) => (label === ABSENT ? labels[i]! : label));
  }

  /** `painted`: the tool has shown the new labels already; only looks that follow from classes and acceptance are left. */
  private apply(patch: Patch, touched: ReadonlyMap<number, number>, painted: boolean): void {
    for (const [label, c] of Object.entries(patch.classesAfter)) {
      if (c === null) this.classes.delete(Number(label));
      else this.classes.set(Number(label), c);
    }
    let changed = painted ? NOTHING : patch.place;
    // Finding an object takes a while; one that the patch made lies inside it.
    const around = (label: number): Rectangle => {
      const pixels = this.index.objects.get(label)?.pixels ?? 0;
      return pixels === (touched.get(label) ?? 0) ? patch.place : boundsOf(this.tiles, label);
    };
    if (patch.acceptedAfter) {
      const now = new Set(patch.acceptedAfter);
      const other = [...now, ...this.accepted].filter((label) => now.has(label) !== this.accepted.has(label) && label < this.firstOwn);
      this.accepted = now;
      for (const label of other) changed = union(changed, around(label));
    }
    for (const [label, c] of Object.entries(patch.classesAfter)) {
      if ((c ?? 0) !== (patch.classesBefore[Number(label)] ?? 0)) changed = union(changed, around(Number(label)));
    }
    if (this.selected.value && this.loadsWhole && !this.index.objects.has(this.selected.value)) this.selected.value = 0;
    for (const piece of pieces(patch)) this.enqueue(piece);
    this.changedSinceVersion = true;
    this.revision.value++;
    if (!isEmpty(changed)) this.repaint(changed);
  }

  private enqueue(patch: Patch): void {
    const stroke = crypto.randomUUID();
    const { place } = patch;
    const labels = isEmpty(place) ? Promise.resolve("") : deflateAside(patch.after);
    const body = {
      stroke,
      tool: patch.tool,
      ...place,
      ...(Object.keys(patch.classesAfter).length ? { classes: patch.classesAfter } : {}),
      ...(patch.acceptedAfter ? { accepted: [...patch.acceptedAfter] } : {}),
    };
    const id = this.id;
    this.queue.add({ patch, send: async (edit) => postStroke(id, edit, { ...body, labels: await labels }) });
  }

  async undo(): Promise<boolean> {
    return this.step(this.history.undo());
  }

  async redo(): Promise<boolean> {
    return this.step(this.history.redo());
  }

  private async step(patch: Patch | null): Promise<boolean> {
    if (!patch) return false;
    await this.loader.ensure(patch.place);
    this.tiles.write(patch.place, patch.after);
    this.apply(patch, this.index.change(patch.place, patch.before, patch.after), false);
    return true;
  }

  /** Accepts objects of the proposal, or sets classes, without touching pixels. */
  async note(tool: string, more: { classes?: Record<number, number | null>; accept?: readonly number[] }): Promise<void> {
    await this.commit(new Recorder(this.tiles).finish(tool), more);
  }

  // ------------------------------------------------------------------------------------------------ versions

  /** Makes a version after all strokes before it are stored. */
  submit(complete: boolean | null, why: "submit" | "leave" | "timer"): Promise<EditAnswer> {
    this.changedSinceVersion = false;
    return this.inOrder(async (edit) => {
      const answer = await postVersion(this.id, edit, complete, why);
      const state = complete === null ? {} : { state: complete ? ("annotated" as const) : ("incomplete" as const) };
      this.detail.value = { ...this.detail.value, ...state, version: answer.version ?? null };
      return answer;
    });
  }

  versionIfChanged(why: "leave" | "timer"): void {
    if (this.changedSinceVersion && !this.blocked) void this.submit(null, why);
  }

  /** On closing the page there is no time for a queue: one request that outlives the page. Tells whether it was sent. */
  leavePage(): boolean {
    if (!this.changedSinceVersion || !this.queue.idle || this.blocked) return false;
    this.changedSinceVersion = false;
    postVersion(this.id, this.queue.edit, null, "leave", true).catch(() => undefined);
    return true;
  }

  async restore(version: number): Promise<void> {
    await this.inOrder((edit) => restoreVersion(this.id, version, edit));
    await this.reload();
  }

  async start(from: "proposal" | "empty"): Promise<void> {
    await this.inOrder((edit) => startFrom(this.id, edit, from));
    await this.reload();
  }

  /** Sends something after all strokes before it are stored. */
  private inOrder(send: (edit: string) => Promise<EditAnswer>): Promise<EditAnswer> {
    return new Promise((done) => {
      this.queue.add({
        patch: null,
        send: async (edit) => {
          const answer = await send(edit);
          done(answer);
          return answer;
        },
      });
    });
  }

  // ------------------------------------------------------------------------------------------------ conflicts

  /** Throws away what was not saved and shows what the server has. */
  async reload(): Promise<void> {
    const detail = await getImage(this.id);
    this.empty();
    this.queue.clear(detail.edit);
    this.take(detail);
    this.conflict.value = null;
    this.selected.value = 0;
    this.changedSinceVersion = detail.has_draft;
    this.revision.value++;
    this.repaint(null);
  }

  /** The networks have made a proposal: shown at once where nobody has drawn, else there to be chosen. */
  async proposalCame(): Promise<"shown" | "kept"> {
    if (this.queue.idle && !this.history.canUndo && !this.detail.value.has_draft) {
      await this.reload();
      return "shown";
    }
    const { has_proposal, proposal_round, has_uncertainty } = await getImage(this.id);
    this.detail.value = { ...this.detail.value, has_proposal, proposal_round, has_uncertainty };
    return "kept";
  }

  private empty(): void {
    this.loader.reset();
    this.tiles.tiles.clear();
    this.index.objects.clear();
    this.history.clear();
  }

  /** The version to compare with: null means the server's current drawing. */
  async theirVersion(): Promise<number | null> {
    if (this.conflict.value?.reason !== "newer version") return null;
    return (await getVersions(this.id))[0]?.version ?? null;
  }

  async takeTheirs(): Promise<void> {
    const conflict = this.conflict.value;
    if (conflict?.reason === "newer version") await resolveConflict(this.id, conflict.edit, "theirs");
    await this.reload();
  }

  async keepMine(): Promise<void> {
    const conflict = this.conflict.value;
    if (!conflict) return;
    if (conflict.reason === "newer version") {
      const answer = await resolveConflict(this.id, conflict.edit, "mine");
      this.conflict.value = null;
      this.queue.resume(answer.edit);
      return;
    }
    await this.rebase();
  }

  /** What was not saved is drawn again on top of what the server has now: only the pixels that were changed. */
  private async rebase(): Promise<void> {
    const detail = await getImage(this.id);
    const lastShared = this.savedNext;
    const waiting = this.queue.clear(detail.edit);
    this.empty();
    this.take(detail);
    this.conflict.value = null;
    const patches = waiting.flatMap((task) => (task.patch ? [task.patch] : []));
    const fresh = new Map<number, number>();
    for (const patch of patches) {
      await this.loader.ensure(patch.place);
      const next = rebased(patch, this.tiles.read(patch.place), (label) => {
        if (label < lastShared || lastShared === detail.next_label) return label;
        if (!fresh.has(label)) fresh.set(label, this.nextLabel++);
        return fresh.get(label)!;
      });
      this.tiles.write(next.place, next.after);
      const accepted = patch.acceptedAfter?.filter((label) => !patch.acceptedBefore?.includes(label));
      await this.commit(next, { classes: next.classesAfter, accept: accepted ?? [] });
    }
    for (const task of waiting) if (!task.patch) this.queue.add(task);
    this.selected.value = 0;
    this.repaint(null);
  }
}
