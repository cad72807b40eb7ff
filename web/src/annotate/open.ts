import { getImage, postVersion, Refused } from "../api/requests";
import type { ImageDetail } from "../api/contract";
import { ImageDrawing } from "./drawing";

/** Drawings with something unsaved live on after their screen is closed, until all is stored. */
const alive = new Map<number, ImageDrawing>();
/** Those of them whose screen is closed. */
const closed = new Set<ImageDrawing>();

const leftMark = (id: number): string => `frugalseg.left.${id}`;

/**
 * The image as it is once the version that this tab asked for on its way out has been made. That request may still be under way
 * after a reload; asking for the same version again settles it, whichever comes first.
 */
async function settledImage(id: number): Promise<ImageDetail> {
  const left = sessionStorage.getItem(leftMark(id)) !== null;
  sessionStorage.removeItem(leftMark(id));
  for (let attempt = 0; ; attempt++) {
    const detail = await getImage(id);
    if (!left) return detail;
    try {
      await postVersion(id, detail.edit, null, "leave");
      return await getImage(id);
    } catch (error) {
      if (!(error instanceof Refused) || attempt >= 3) return detail;
    }
  }
}

export async function openDrawing(id: number): Promise<ImageDrawing> {
  const known = alive.get(id);
  if (known && !known.queue.idle) {
    closed.delete(known);
    return known;
  }
  const drawing = new ImageDrawing(await settledImage(id));
  alive.set(id, drawing);
  return drawing;
}

export function closeDrawing(drawing: ImageDrawing): void {
  drawing.versionIfChanged("leave");
  closed.add(drawing);
  let stop: (() => void) | null = null;
  stop = drawing.saveState.subscribe(() => {
    if (!closed.has(drawing)) stop?.(); // opened again meanwhile
    else if (drawing.queue.idle) {
      closed.delete(drawing);
      if (alive.get(drawing.id) === drawing) alive.delete(drawing.id);
      stop?.();
    }
  });
  if (!closed.has(drawing)) stop(); // all was stored already
}

export function anythingUnsaved(): boolean {
  return [...alive.values()].some((drawing) => !drawing.queue.idle);
}

/** Changes that are drawn and not stored. */
export function unsavedChanges(): number {
  return [...alive.values()].reduce((sum, drawing) => sum + drawing.queue.pending.filter((task) => task.patch).length, 0);
}

/** Tries to store at once what waits. */
export function hurryAll(): void {
  alive.forEach((drawing) => drawing.queue.hurry());
}

addEventListener("beforeunload", (event) => {
  if (anythingUnsaved()) event.preventDefault();
});
addEventListener("pagehide", () => {
  for (const drawing of alive.values()) if (drawing.leavePage()) sessionStorage.setItem(leftMark(drawing.id), "");
});
addEventListener("online", hurryAll);
