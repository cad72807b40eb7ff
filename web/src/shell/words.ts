import type { ImageState, Job } from "../api/contract";

export function when(time: string): string {
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export const STATE_WORDS: Record<ImageState, string> = {
  todo: "to do",
  draft: "begun",
  annotated: "annotated",
  incomplete: "incomplete",
  unusable: "unusable",
};

export const JOB_WORDS: Record<Job["kind"], string> = { train: "Training", suggest: "Suggesting", predict: "Predicting" };

/** How suggestions were chosen, where a word of the program says little. */
export const STRATEGY_WORDS: Record<string, string> = {
  cover: "they stand for many others",
  suggestive: "the networks disagree there",
};

export function ordinal(n: number): string {
  const ends = ["th", "st", "nd", "rd"];
  const rest = n % 100;
  return `${n}${ends[(rest - 20) % 10] ?? ends[rest] ?? ends[0]}`;
}

export function counted(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

const SOURCES: Record<string, string> = {
  "page:submit": "marked complete",
  "page:leave": "on leaving the image",
  "page:timer": "while drawing",
  "page:resolve": "after a conflict",
  "page:before-restore": "before a version was restored",
};

/** How a version came to be; what is not known is said as the server says it. */
export function sourceWords(source: string): string {
  const restored = /^restore:(\d+)$/.exec(source);
  return restored ? `version ${restored[1]} restored` : (SOURCES[source] ?? source);
}
