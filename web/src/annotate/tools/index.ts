import type { ToolName } from "../settings";
import { Brush, Eraser } from "./brush";
import { Polygon } from "./polygon";
import { Fill, Merge, Select, Split } from "./regions";
import type { ToolMaker } from "./tool";

/** Every tool, in the order of the tool bar, with its key. */
export const TOOLS: Record<ToolName, { name: string; key: string; make: ToolMaker }> = {
  select: { name: "Select", key: "V", make: (stage) => new Select(stage) },
  brush: { name: "Brush", key: "B", make: (stage) => new Brush(stage) },
  eraser: { name: "Eraser", key: "E", make: (stage) => new Eraser(stage) },
  polygon: { name: "Polygon", key: "P", make: (stage) => new Polygon(stage) },
  fill: { name: "Fill", key: "F", make: (stage) => new Fill(stage) },
  split: { name: "Split", key: "S", make: (stage) => new Split(stage) },
  merge: { name: "Merge", key: "M", make: (stage) => new Merge(stage) },
};

export const TOOL_NAMES = Object.keys(TOOLS) as ToolName[];
