import { signal } from "@preact/signals";
import type {
  ConflictReason,
  EditAnswer,
  ImageDetail,
  ImageRow,
  Job,
  Problem,
  ProjectDocument,
  QueueDocument,
  StrokeBody,
  VersionRow,
} from "./contract";
import { inflateLabels } from "../drawing/codec";
import type { Rectangle } from "../drawing/rectangle";

/** Whether the server knows this browser, and whether it answers at all. */
export const connection = signal<"fine" | "ended" | "gone">("fine");

/** The server refused: what it said about it. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly problems: Problem[],
    readonly edit: string | null,
    readonly reason: ConflictReason | null,
  ) {
    super(problems.map((p) => (p.where ? `${p.where}: ${p.reason}` : p.reason)).join("; ") || `the server answered ${status}`);
  }
}

/** The server could not be reached, or broke down: trying again may help. */
export class Unreachable extends Error {}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`/api${path}`, { cache: "no-store", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    connection.value = "gone";
    throw new Unreachable("the server does not answer");
  }
  if (answer.status === 401) {
    connection.value = "ended";
    throw new Unreachable("this session has ended");
  }
  connection.value = "fine";
  if (answer.ok) return answer;
  let said: { problems?: Problem[]; edit?: string; reason?: ConflictReason } = {};
  try {
    said = await answer.json();
  } catch {
    // An answer without a document, from a proxy for example.
  }
  if (answer.status >= 500) throw new Unreachable(said.problems?.[0]?.reason ?? `the server answered ${answer.status}`);
  throw new Refused(answer.status, said.problems ?? [], said.edit ?? null, said.reason ?? null);
}

async function get<T>(path: string): Promise<T> {
  return (await ask(path)).json() as Promise<T>;
}

async function send<T>(method: string, path: string, body?: unknown, keepalive = false): Promise<T> {
  const init: RequestInit = { method, keepalive };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "content-type": "application/json" };
  }
  return (await ask(path, init)).json() as Promise<T>;
}

export const getProject = (): Promise<ProjectDocument> => get("/project");
export const putClasses = (classes: string[]): Promise<ProjectDocument> => send("PUT", "/project/classes", { classes });
export const getImages = async (): Promise<ImageRow[]> => (await get<{ images: ImageRow[] }>("/images")).images;
export const getQueue = (): Promise<QueueDocument> => get("/queue");
export const getImage = (id: number): Promise<ImageDetail> => get(`/images/${id}`);

export interface LabelSource {
  version?: number;
  step?: number;
}

export async function getLabels(id: number, r: Rectangle, source: LabelSource = {}): Promise<Int32Array> {
  const version = source.version === undefined ? "" : `&version=${source.version}`;
  const answer = await ask(`/images/${id}/labels?x=${r.x}&y=${r.y}&w=${r.w}&h=${r.h}&step=${source.step ?? 1}${version}`);
  return inflateLabels(await answer.arrayBuffer());
}

/** Objects of the image's proposal that nobody has accepted or changed. */
export const getOpenProposals = async (id: number): Promise<number[]> => (await get<{ open: number[] }>(`/images/${id}/proposed`)).open;

export const postStroke = (id: number, edit: string, stroke: StrokeBody): Promise<EditAnswer> => send("POST", `/images/${id}/strokes`, { edit, ...stroke });

export const postVersion = (id: number, edit: string, complete: boolean | null, why: "submit" | "leave" | "timer", keepalive = false): Promise<EditAnswer> =>
  send("POST", `/images/${id}/versions`, { edit, complete, why }, keepalive);

export const getVersions = async (id: number): Promise<VersionRow[]> => (await get<{ versions: VersionRow[] }>(`/images/${id}/versions`)).versions;
export const restoreVersion = (id: number, version: number, edit: string): Promise<EditAnswer> => send("POST", `/images/${id}/versions/${version}/restore`, { edit });
export const resolveConflict = (id: number, edit: string, keep: "mine" | "theirs"): Promise<EditAnswer> => send("POST", `/images/${id}/resolve`, { edit, keep });
export const startFrom = (id: number, edit: string, from: "proposal" | "empty"): Promise<EditAnswer> => send("POST", `/images/${id}/start`, { edit, from });
export const markUnusable = (id: number, reason: string): Promise<ImageRow> => send("PUT", `/images/${id}/unusable`, { reason });
export const markUsable = (id: number): Promise<ImageRow> => send("DELETE", `/images/${id}/unusable`);

export const postJob = (kind: Job["kind"], settings: Record<string, unknown>): Promise<Job> => send("POST", "/jobs", { kind, settings });
export const cancelJob = (id: number): Promise<Job> => send("POST", `/jobs/${id}/cancel`, {});

export async function uploadImage(file: File): Promise<{ added: string[]; duplicate: boolean }> {
  const answer = await ask(`/uploads?name=${encodeURIComponent(file.name)}`, {
    method: "POST",
    body: file,
    headers: { "content-type": "application/octet-stream" },
  });
  return answer.json() as Promise<{ added: string[]; duplicate: boolean }>;
}

export const thumbnailOf = (id: number): string => `/api/images/${id}/thumbnail`;
export const uncertaintyOf = (id: number): string => `/api/images/${id}/uncertainty`;
export const overlayOf = (id: number, round: number): string => `/api/images/${id}/overlay/${round}`;
export const tileOf = (id: number, level: number, column: number, row: number): string => `/api/images/${id}/tiles/${level}/${column}/${row}`;
export const slideTileOf = (id: number, level: number, column: number, row: number): string => `/api/slides/${id}/tiles/${level}/${column}_${row}`;

/** What to tell a person about an error. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
