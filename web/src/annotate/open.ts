import { getImage } from "../api/requests";
import { ImageDrawing } from "./drawing";

/** Drawings with something unsaved live on after their screen is closed, until all is stored. */
const alive = new Map<number, ImageDrawing>();

export async function openDrawing(id: number): Promise<ImageDrawing> {
  const known = alive.get(id);
  if (known && !known.queue.idle) return known;
  const drawing = new ImageDrawing(await getImage(id));
  alive.set(id, drawing);
  return drawing;
}

export function closeDrawing(drawing: ImageDrawing): void {
  drawing.versionIfChanged("leave");
  if (drawing.queue.idle && alive.get(drawing.id) === drawing) alive.delete(drawing.id);
}

export function anythingUnsaved(): boolean {
  return [...alive.values()].some((drawing) => !drawing.queue.idle);
}

addEventListener("beforeunload", (event) => {
  if (anythingUnsaved()) event.preventDefault();
});
addEventListener("pagehide", () => alive.forEach((drawing) => drawing.leavePage()));
addEventListener("online", () => alive.forEach((drawing) => drawing.queue.hurry()));
