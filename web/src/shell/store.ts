import { signal } from "@preact/signals";
import { getImages, getProject, getQueue } from "../api/requests";
import type { ImageRow, ProjectDocument, QueueDocument } from "../api/contract";

/** What the server said last about the project; the screens read it and ask for it anew when something happened. */
export const project = signal<ProjectDocument | null>(null);
export const queue = signal<QueueDocument | null>(null);
export const images = signal<ImageRow[]>([]);

export async function refreshProject(): Promise<void> {
  project.value = await getProject();
}

export async function refreshAll(): Promise<void> {
  const [p, q, i] = await Promise.all([getProject(), getQueue(), getImages()]);
  project.value = p;
  queue.value = q;
  images.value = i;
}

/** The image to annotate after this one: the suggestions in order, then those for validation, round and round. */
export function imageAfter(id: number): number | null {
  const q = queue.value;
  if (!q) return null;
  const order = [...q.suggestions.map((s) => s.image), ...q.validation].filter((row) => row.id === id || (row.state !== "annotated" && row.state !== "unusable"));
  const at = order.findIndex((row) => row.id === id);
  const next = order[(at + 1) % Math.max(1, order.length)];
  return next && next.id !== id ? next.id : null;
}
