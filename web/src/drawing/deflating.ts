import { deflateLabels } from "./codec";

/** A second thread for deflating: a large stroke would hold up the pointer. */
let worker: Worker | null = null;
let asked = 0;
const answers = new Map<number, { take: (text: string) => void; fail: (error: Error) => void }>();

function start(): Worker {
  const it = new Worker(new URL("./deflating-worker.ts", import.meta.url), { type: "module" });
  it.onmessage = (event: MessageEvent<{ id: number; text?: string; error?: string }>) => {
    const { id, text, error } = event.data;
    const answer = answers.get(id);
    answers.delete(id);
    if (text !== undefined) answer?.take(text);
    else answer?.fail(new Error(error));
  };
  it.onerror = () => {
    // Without a second thread, then: what was asked is tried again here.
    worker = null;
    for (const { fail } of answers.values()) fail(new Error("the worker failed"));
    answers.clear();
  };
  return it;
}

export async function deflateAside(labels: Int32Array): Promise<string> {
  // In a task of its own: copying a large stroke to the other thread takes a while.
  await new Promise((go) => setTimeout(go));
  try {
    worker ??= start();
    const it = worker;
    return await new Promise<string>((take, fail) => {
      answers.set(++asked, { take, fail });
      it.postMessage({ id: asked, labels });
    });
  } catch {
    return deflateLabels(labels);
  }
}
