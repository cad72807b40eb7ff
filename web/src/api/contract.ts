/** The documents that the server sends, as it sends them. */

export type Window4 = [x: number, y: number, w: number, h: number];
export type ImageState = "todo" | "draft" | "annotated" | "incomplete" | "unusable";

export interface Problem {
  where: string;
  reason: string;
}

export interface RoundRow {
  number: number;
  status: "trained" | "training" | "abandoned";
  n_labelled: number;
  n_members: number;
  object_dice: number | null;
  object_f1: number | null;
  interval: [number, number] | null;
  n_validation: number;
  worst: { image: number; name: string; object_dice: number | null }[];
  finished_at: string | null;
}

export interface ProjectDocument {
  name: string;
  classes: string[];
  n_images: number;
  n_slides: number;
  first_run: boolean;
  n_annotated: number;
  n_pool: number;
  n_validation: number;
  n_validation_annotated: number;
  n_unusable: number;
  cost: { images: number; objects: number; contour_px: number };
  rounds: RoundRow[];
  newest_ask: number | null;
}

export interface ImageRow {
  id: number;
  name: string;
  width: number;
  height: number;
  role: "pool" | "validation" | null;
  unusable_reason: string | null;
  state: ImageState;
  version: number | null;
  n_objects: number | null;
  has_draft: boolean;
}

/** Where in a slide an image lies, in pixels of the slide's finest level. */
export interface SlidePlace {
  id: number;
  name: string;
  x: number;
  y: number;
  width: number;
  height: number;
  slide_width: number;
  slide_height: number;
  tile_levels: number;
}

export interface ImageDetail extends ImageRow {
  edit: string;
  base: "empty" | "proposal" | "version";
  window: Window4 | null;
  next_label: number;
  object_classes: Record<string, number>;
  accepted: number[];
  tile_px: number;
  levels: number;
  pixel_size_um: number | null;
  has_proposal: boolean;
  proposal_round: number | null;
  has_uncertainty: boolean;
  slide: SlidePlace | null;
}

export interface Suggestion {
  rank: number;
  image: ImageRow;
  window: Window4 | null;
  uncertainty: number | null;
  uncertainty_rank: number | null;
  represents: number | null;
  nearest: ImageRow[];
  has_proposal: boolean;
  has_uncertainty: boolean;
}

export interface QueueDocument {
  ask: number | null;
  round: number | null;
  strategy: string | null;
  suggestions: Suggestion[];
  validation: ImageRow[];
}

export interface VersionRow {
  version: number;
  created_at: string;
  source: string;
  complete: boolean;
  n_objects: number;
  window: Window4 | null;
}

export interface Job {
  id: number;
  kind: "train" | "suggest" | "predict";
  status: "queued" | "running" | "done" | "failed" | "cancelled";
  settings: Record<string, unknown>;
  message: string | null;
  source: "page" | "command line";
  round: number | null;
  done: number;
  total: number;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

export interface ProgressRow {
  member: number;
  phase: "float" | "quantized";
  step: number;
  steps: number;
  loss: number;
}

export interface StrokeBody {
  stroke: string;
  tool: string;
  x: number;
  y: number;
  w: number;
  h: number;
  labels: string;
  classes?: Record<string, number | null>;
  accepted?: number[];
}

export interface EditAnswer {
  edit: string;
  next_label?: number;
  version?: number;
}

export type ConflictReason = "changed elsewhere" | "newer version";
