import { boundsOf } from "../drawing/objects";
import * as settings from "./settings";
import { TOOLS, TOOL_NAMES } from "./tools";
import { deleteObject } from "./tools/regions";
import type { Stage } from "./stage";

/** What the annotate screen can do besides drawing; the screen provides what needs dialogs or another page. */
export interface Actions {
  complete(): void;
  unusable(): void;
  next(): void;
  help(): void;
}

export async function undo(stage: Stage): Promise<void> {
  if (stage.tool.cancel() || stage.drawing.blocked) return;
  if (!(await stage.drawing.undo())) stage.tell("Nothing to undo.");
}

export async function redo(stage: Stage): Promise<void> {
  if (stage.drawing.blocked) return;
  if (!(await stage.drawing.redo())) stage.tell("Nothing to redo.");
}

export function target(stage: Stage): number {
  return stage.drawing.selected.value || stage.under.value?.label || 0;
}

/** Accepts the selected proposed object, or the one under the pointer, and selects the nearest one that is still open. */
export async function accept(stage: Stage): Promise<void> {
  const { drawing } = stage;
  if (drawing.blocked) return;
  if (!drawing.isProposal) return stage.tell("There is no proposal to accept here.");
  const label = target(stage);
  const from = drawing.index.centre(label) ?? stage.under.value ?? { x: 0, y: 0 };
  if (label && drawing.isProposed(label)) await drawing.note("accept", { accept: [label] });
  const open = drawing.openProposals();
  if (!open.length) {
    drawing.selected.value = 0;
    const elsewhere = (await drawing.allOpenProposals()).length;
    return stage.tell(elsewhere ? `${elsewhere} proposed objects are left where you have not looked yet.` : "All proposed objects are looked at.");
  }
  const distance = (other: number): number => {
    const c = drawing.index.centre(other)!;
    return Math.hypot(c.x - from.x, c.y - from.y);
  };
  const next = open.reduce((a, b) => (distance(a) <= distance(b) ? a : b));
  drawing.selected.value = next;
  stage.view.show(boundsOf(drawing.tiles, next));
}

export async function acceptAll(stage: Stage): Promise<void> {
  const { drawing } = stage;
  if (!drawing.blocked) await drawing.note("accept", { accept: await drawing.allOpenProposals() });
}

export async function setClass(stage: Stage, index: number): Promise<void> {
  if (index >= stage.nClasses) return;
  settings.currentClass.value = index;
  const { drawing } = stage;
  const label = drawing.selected.value;
  if (label && !drawing.blocked && (drawing.classes.get(label) ?? 0) !== index) await drawing.note("class", { classes: { [label]: index } });
}

export async function remove(stage: Stage): Promise<void> {
  const label = stage.drawing.selected.value;
  if (!label) return stage.tell("Select an object first.");
  if (stage.mayDraw()) await deleteObject(stage, label);
}

interface Shortcut {
  keys: string;
  does: string;
  matches: (event: KeyboardEvent) => boolean;
  run: (stage: Stage, actions: Actions, event: KeyboardEvent) => void;
}

const control = (event: KeyboardEvent): boolean => event.ctrlKey || event.metaKey;
const plain =
  (...keys: string[]) =>
  (event: KeyboardEvent): boolean =>
    !control(event) && !event.altKey && keys.includes(event.key.length === 1 ? event.key.toUpperCase() : event.key);

/** Every key of the annotate screen; the help sheet shows this list. */
export const SHORTCUTS: readonly Shortcut[] = [
  ...TOOL_NAMES.map((name) => ({
    keys: TOOLS[name].key,
    does: TOOLS[name].name,
    matches: plain(TOOLS[name].key),
    run: () => void (settings.tool.value = name),
  })),
  { keys: "[  ]", does: "Smaller or larger brush", matches: plain("[", "]"), run: (stage, _, e) => (settings.resizeBrush(e.key === "[" ? -1 : 1), stage.redraw()) },
  { keys: "1 – 9", does: "Class of the selected object and of what is drawn next", matches: plain(..."123456789"), run: (stage, _, e) => void setClass(stage, Number(e.key) - 1) },
  { keys: "A", does: "Accept the proposed object, go to the next one", matches: plain("A"), run: (stage) => void accept(stage) },
  { keys: "Delete", does: "Delete the selected object", matches: plain("Delete"), run: (stage) => void remove(stage) },
  { keys: "Ctrl Z", does: "Undo", matches: (e) => control(e) && !e.shiftKey && e.key.toLowerCase() === "z", run: (stage) => void undo(stage) },
  { keys: "Ctrl Y", does: "Redo (also Ctrl Shift Z)", matches: (e) => control(e) && (e.key.toLowerCase() === "y" || (e.shiftKey && e.key.toLowerCase() === "z")), run: (stage) => void redo(stage) },
  { keys: "Esc", does: "Give up what was begun; select nothing", matches: plain("Escape"), run: (stage) => void (stage.tool.cancel() || (stage.drawing.selected.value = 0)) },
  { keys: "+  −", does: "Zoom (also the wheel)", matches: plain("+", "=", "-"), run: (stage, _, e) => stage.view.zoomMiddle(e.key === "-" ? -1 : 1) },
  { keys: "0", does: "Fit the image", matches: plain("0"), run: (stage) => stage.view.fit() },
  { keys: "W", does: "Show the whole slide around the window, or the window again", matches: plain("W"), run: (stage) => stage.view.toggleSlide() },
  { keys: "Arrows", does: "Move the image", matches: plain("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"), run: (stage, _, e) => stage.view.panBy(...ARROWS[e.key]!) },
  { keys: "H", does: "Hide or show the objects", matches: plain("H"), run: () => void (settings.overlayHidden.value = !settings.overlayHidden.value) },
  { keys: "U", does: "Show or hide the uncertainty", matches: plain("U"), run: () => void (settings.uncertaintyShown.value = !settings.uncertaintyShown.value) },
  { keys: "C", does: "Mark the image as complete", matches: plain("C"), run: (_, actions) => actions.complete() },
  { keys: "X", does: "Mark the image as unusable", matches: plain("X"), run: (_, actions) => actions.unusable() },
  { keys: "N", does: "Next image", matches: plain("N"), run: (_, actions) => actions.next() },
  { keys: "?", does: "This help", matches: plain("?"), run: (_, actions) => actions.help() },
];

const ARROWS: Record<string, [number, number]> = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

/** Mouse ways that the help sheet lists below the keys. */
export const GESTURES: readonly { keys: string; does: string }[] = [
  { keys: "Space + drag", does: "Move the image (also the middle or right button, or two fingers)" },
  { keys: "Shift + draw", does: "Take over pixels of other objects; erase everything" },
  { keys: "Double click, Enter", does: "Close the polygon; Backspace removes its last point" },
];
