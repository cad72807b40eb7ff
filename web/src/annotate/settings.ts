import { effect, signal, type Signal } from "@preact/signals";

export type ToolName = "select" | "brush" | "eraser" | "polygon" | "fill" | "split" | "merge";

/** A signal that this browser remembers. */
function remembered<T extends number | boolean>(name: string, initial: T): Signal<T> {
  const key = `frugalseg.${name}`;
  let value = initial;
  try {
    const stored = localStorage.getItem(key);
    if (stored !== null) value = JSON.parse(stored) as T;
  } catch {
    // Storage is switched off or holds something else: the initial value will do.
  }
  const it = signal<T>(typeof value === typeof initial ? value : initial);
  effect(() => {
    const text = JSON.stringify(it.value);
    try {
      localStorage.setItem(key, text);
    } catch {
      // Not remembered, then.
    }
  });
  return it;
}

export const tool = signal<ToolName>("brush");
/** Diameter in image pixels. */
export const brushSize = remembered<number>("brush", 16);
export const currentClass = signal(0);

export const opacity = remembered<number>("opacity", 0.4);
export const outlinesOnly = remembered<boolean>("outlines", false);
export const overlayHidden = signal(false);
export const uncertaintyShown = signal(false);
export const uncertaintyOpacity = remembered<number>("uncertainty", 0.8);

export const brightness = remembered<number>("brightness", 1);
export const contrast = remembered<number>("contrast", 1);
export const gamma = remembered<number>("gamma", 1);

export const SMALLEST_BRUSH = 1;
export const LARGEST_BRUSH = 400;

export function resizeBrush(direction: 1 | -1): void {
  const now = brushSize.value;
  const step = Math.max(1, Math.round(now * 0.2));
  brushSize.value = Math.min(LARGEST_BRUSH, Math.max(SMALLEST_BRUSH, now + direction * step));
}

export function resetLook(): void {
  brightness.value = contrast.value = gamma.value = 1;
}
