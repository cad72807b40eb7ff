import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { jobs, listen, onJobFinished } from "../src/api/events";

class Source extends EventTarget {
  static made: Source[] = [];
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  constructor(readonly url: string) {
    super();
    Source.made.push(this);
  }
  close(): void {
    this.closed = true;
  }
}

const page = Object.assign(new EventTarget(), { hidden: false });

function show(seen: boolean): void {
  page.hidden = !seen;
  page.dispatchEvent(new Event("visibilitychange"));
}

const open = (): Source[] => Source.made.filter((it) => !it.closed);

const hear = (rows: object[]): boolean => open()[0]!.dispatchEvent(new MessageEvent("jobs", { data: JSON.stringify({ jobs: rows }) }));

beforeEach(() => {
  Source.made = [];
  page.hidden = false;
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", Source);
  vi.stubGlobal("document", page);
  vi.stubGlobal("fetch", () => Promise.resolve(new Response("{}")));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("a hidden page holds no connection, and hears all again when it is seen", async () => {
  const finished: number[] = [];
  onJobFinished((job) => finished.push(job.id));
  listen();
  expect(open()).toHaveLength(1);
  show(false);
  expect(open()).toHaveLength(0);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(Source.made).toHaveLength(1);
  show(true);
  expect(open()).toHaveLength(1);
  hear([{ id: 1, status: "running" }, { id: 2, status: "done" }]);
  expect(jobs.value.map((it) => it.id)).toEqual([1, 2]);
  expect(finished, "what was over before the page was opened").toEqual([]);

  // What ended meanwhile is told, also what had not begun before.
  show(false);
  show(true);
  hear([{ id: 1, status: "done" }, { id: 2, status: "done" }, { id: 3, status: "failed" }]);
  expect(finished).toEqual([1, 3]);

  // A connection that broke is opened anew, but not by a page that was hidden meanwhile.
  open()[0]!.onerror!();
  expect(open()).toHaveLength(0);
  show(false);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(open()).toHaveLength(0);
  show(true);
  open()[0]!.onerror!();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(open()).toHaveLength(1);
});
