import { ABSENT, UNKNOWN } from "./tiles";

type Colour = readonly [number, number, number];

/** Okabe and Ito's colours without black and without the purple, which cannot be seen on stained tissue. */
export const OBJECT_COLOURS: readonly Colour[] = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [0, 114, 178],
  [213, 94, 0],
];

/** Outlines of classes, where there is more than one; null: the first class keeps the object's own colour. */
export const CLASS_COLOURS: readonly (Colour | null)[] = [
  null,
  [0, 0, 0],
  [240, 228, 66],
  [204, 121, 167],
  [86, 180, 233],
  [213, 94, 0],
  [0, 158, 115],
  [0, 114, 178],
  [150, 150, 150],
];

export interface PaintStyle {
  /** 0..1 */
  opacity: number;
  outlinesOnly: boolean;
  /** Width of an outline in image pixels. */
  line: number;
  selected: number;
  /** Whether an object's outline is dashed: proposed, and not looked at. */
  isProposed: (label: number) => boolean;
  /** Null: one class only, outlines have the object's colour. */
  classOf: ((label: number) => number) | null;
}

export function colourOf(label: number): Colour {
  return OBJECT_COLOURS[(label - 1) % OBJECT_COLOURS.length]!;
}

export function css(colour: Colour): string {
  return `rgb(${colour[0]} ${colour[1]} ${colour[2]})`;
}

/** One pixel of an ImageData read as a number (all machines that run browsers are little-endian). */
function packed([r, g, b]: Colour, alpha: number): number {
  return ((Math.round(alpha * 255) << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

interface Look {
  /** How far from the border the outline reaches, in image pixels. */
  reach: number;
  fill: number;
  outline: number;
  dashed: boolean;
  /** What the outline's gaps are filled with. */
  gap: number;
}

function lookOf(label: number, style: PaintStyle): Look {
  const colour = colourOf(label);
  const chosen = label === style.selected;
  const fillAlpha = style.outlinesOnly ? 0 : Math.min(1, style.opacity * (chosen ? 1.4 : 1));
  const dashed = style.isProposed(label);
  const outline: Colour = chosen && !dashed ? [255, 255, 255] : style.classOf ? (CLASS_COLOURS[style.classOf(label) % CLASS_COLOURS.length] ?? colour) : colour;
  return { reach: chosen ? 2 * style.line : style.line, fill: packed(colour, fillAlpha), outline: packed(outline, 1), dashed, gap: packed([255, 255, 255], 0.95) };
}

/** The selected object's outline is twice as wide as the others. */
export function marginOf(style: Pick<PaintStyle, "line">): number {
  return 2 * style.line;
}

/**
 * Colours labels. `labels` has a margin of `marginOf(style)` pixels on all sides, so outlines go on across tiles; `out` has not.
 * `x`, `y`: image place of the first pixel of `out`; dashes and hatching are laid out by it, so they meet across tiles.
 */
export function paintLabels(labels: Int32Array, w: number, h: number, x: number, y: number, style: PaintStyle, out: Uint32Array): void {
  const t = style.line;
  const margin = marginOf(style);
  const stride = w + 2 * margin;
  const looks = new Map<number, Look>();
  const dash = 4 * t;
  const hatch = packed([90, 96, 104], 0.75);
  let lastLabel = 0;
  let look: Look = { reach: t, fill: 0, outline: 0, dashed: false, gap: 0 };
  for (let row = 0; row < h; row++) {
    let at = (row + margin) * stride + margin;
    let to = row * w;
    for (let column = 0; column < w; column++, at++, to++) {
      const label = labels[at]!;
      if (label === 0 || label === ABSENT) {
        out[to] = 0;
        continue;
      }
      if (label === UNKNOWN) {
        out[to] = (x + column + y + row) % (12 * t) < 2 * t ? hatch : 0;
        continue;
      }
      if (label !== lastLabel) {
        const known = looks.get(label);
        if (known) look = known;
        else looks.set(label, (look = lookOf(label, style)));
        lastLabel = label;
      }
      const { reach } = look;
      const l = labels[at - reach]!;
      const r = labels[at + reach]!;
      const u = labels[at - reach * stride]!;
      const d = labels[at + reach * stride]!;
      const edge =
        (l !== label && l !== ABSENT) || (r !== label && r !== ABSENT) || (u !== label && u !== ABSENT) || (d !== label && d !== ABSENT);
      if (!edge) out[to] = look.fill;
      else if (look.dashed && Math.floor((x + column + y + row) / dash) % 2) out[to] = look.gap;
      else out[to] = look.outline;
    }
  }
}
