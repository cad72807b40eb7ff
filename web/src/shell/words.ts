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

export function ordinal(n: number): string {
  const ends = ["th", "st", "nd", "rd"];
  const rest = n % 100;
  return `${n}${ends[(rest - 20) % 10] ?? ends[rest] ?? ends[0]}`;
}
