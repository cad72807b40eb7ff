import { signal } from "@preact/signals";
import { connection, getProject } from "./requests";
import type { Job, ProgressRow } from "./contract";

export const jobs = signal<Job[]>([]);
/** Loss rows of each job that told any, by job. */
export const progress = signal<ReadonlyMap<number, readonly ProgressRow[]>>(new Map());

type Listener = (job: Job) => void;
const finishedListeners = new Set<Listener>();

/** Calls back once for each job that ends while the page is open, when the page is seen. Returns what stops it. */
export function onJobFinished(listener: Listener): () => void {
  finishedListeners.add(listener);
  return () => finishedListeners.delete(listener);
}

const isOver = (job: Job): boolean => job.status !== "queued" && job.status !== "running";

let heard = false;

function takeJobs(rows: Job[]): void {
  const before = new Map(jobs.value.map((job) => [job.id, job]));
  const first = !heard;
  heard = true;
  jobs.value = rows;
  if (first) return;
  for (const job of rows) {
    const old = before.get(job.id);
    // One that is new may have begun and ended while the page was hidden.
    if (isOver(job) && !(old && isOver(old))) finishedListeners.forEach((listener) => listener(job));
  }
}

function takeProgress(told: { job: number; rows: ProgressRow[]; first?: boolean }): void {
  const all = new Map(progress.value);
  all.set(told.job, told.first ? told.rows : [...(all.get(told.job) ?? []), ...told.rows]);
  progress.value = all;
}

/**
 * Listens as long as the page is seen. Browsers keep six connections open to a server, those of all tabs together: hidden tabs
 * that held one each would leave none for strokes.
 */
export function listen(): void {
  let source: EventSource | null = null;
  let wait = 1000;
  let again: ReturnType<typeof setTimeout> | undefined;
  let started = new Set<number>();
  const close = (): void => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const open = (): void => {
    close();
    if (document.hidden) return;
    source = new EventSource("/api/events");
    source.onopen = () => {
      wait = 1000;
      connection.value = "fine";
      // All rows come again with a new connection.
      started = new Set();
    };
    source.addEventListener("jobs", (event) => takeJobs((JSON.parse(event.data) as { jobs: Job[] }).jobs));
    source.addEventListener("progress", (event) => {
      const told = JSON.parse(event.data) as { job: number; rows: ProgressRow[]; first?: boolean };
      if (!started.has(told.job)) {
        started.add(told.job);
        told.first = true;
      }
      takeProgress(told);
    });
    source.onerror = () => {
      // Opened anew by hand, slower each time; a request tells whether the session has ended or the server is gone.
      close();
      again = setTimeout(() => {
        getProject().then(open, () => (again = setTimeout(open, wait)));
        wait = Math.min(15000, wait * 2);
      }, wait);
    };
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}
