import { signal } from "@preact/signals";
import { Refused, Unreachable, said, uploadImage } from "../api/requests";

const SUFFIXES = /\.(png|jpe?g|bmp|tiff?|bif|czi|ndpi|scn|svs|svslide|zvi)$/i;
const AT_ONCE = 3;

export interface Refusal {
  name: string;
  reason: string;
}

export const uploads = signal({ total: 0, done: 0, added: 0, duplicates: 0 });
export const refusals = signal<readonly Refusal[]>([]);
export const uploading = signal(false);

const waiting: File[] = [];
let active = 0;

/** Sends images, three at a time. What is refused is listed; the others go on. */
export function upload(files: readonly File[]): void {
  const images = files.filter((file) => SUFFIXES.test(file.name));
  const others = files.filter((file) => !SUFFIXES.test(file.name) && !file.name.startsWith("."));
  refuse(others.map((file) => ({ name: file.name, reason: "not an image of a kind that is read: png, jpg, bmp, tif, or a slide in one file" })));
  waiting.push(...images);
  uploads.value = { ...uploads.value, total: uploads.value.total + images.length };
  while (active < AT_ONCE && waiting.length) void work();
}

function refuse(more: Refusal[]): void {
  if (more.length) refusals.value = [...refusals.value, ...more];
}

async function work(): Promise<void> {
  active++;
  uploading.value = true;
  for (let file = waiting.shift(); file; file = waiting.shift()) await sendOne(file);
  active--;
  if (active === 0) uploading.value = false;
}

async function sendOne(file: File): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      const answer = await uploadImage(file);
      const { added, duplicates } = uploads.value;
      uploads.value = { ...uploads.value, added: added + answer.added.length, duplicates: duplicates + (answer.duplicate ? 1 : 0) };
      break;
    } catch (error) {
      if (error instanceof Unreachable && attempt < 4) {
        await new Promise((go) => setTimeout(go, 1000 * 2 ** attempt));
        continue;
      }
      refuse([{ name: file.name, reason: error instanceof Refused ? error.problems.map((p) => p.reason).join("; ") || said(error) : said(error) }]);
      break;
    }
  }
  uploads.value = { ...uploads.value, done: uploads.value.done + 1 };
}

/** All files of what was dropped, those in folders too. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) return [...transfer.files];
  const found: File[] = [];
  const visit = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) found.push(await new Promise<File>((take, fail) => (entry as FileSystemFileEntry).file(take, fail)));
    else {
      const reader = (entry as FileSystemDirectoryEntry).createReader();
      // A reader gives a hundred entries at a time.
      for (;;) {
        const part = await new Promise<FileSystemEntry[]>((take, fail) => reader.readEntries(take, fail));
        if (!part.length) break;
        for (const child of part) await visit(child);
      }
    }
  };
  for (const entry of entries) await visit(entry);
  return found.sort((a, b) => a.name.localeCompare(b.name));
}
