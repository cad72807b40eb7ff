/** A rectangle of whole image pixels. */
export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

export const NOTHING: Rectangle = { x: 0, y: 0, w: 0, h: 0 };

export function isEmpty(r: Rectangle): boolean {
  return r.w <= 0 || r.h <= 0;
}

export function intersection(a: Rectangle, b: Rectangle): Rectangle {
  const x = Math.max(a.x, b.x);
  const y = Math.max(a.y, b.y);
  const w = Math.min(a.x + a.w, b.x + b.w) - x;
  const h = Math.min(a.y + a.h, b.y + b.h) - y;
  return w > 0 && h > 0 ? { x, y, w, h } : NOTHING;
}

/** The smallest rectangle that holds both; an empty one adds nothing. */
export function union(a: Rectangle, b: Rectangle): Rectangle {
  if (isEmpty(a)) return b;
  if (isEmpty(b)) return a;
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return { x, y, w: Math.max(a.x + a.w, b.x + b.w) - x, h: Math.max(a.y + a.h, b.y + b.h) - y };
}

export function grown(r: Rectangle, by: number): Rectangle {
  return isEmpty(r) ? r : { x: r.x - by, y: r.y - by, w: r.w + 2 * by, h: r.h + 2 * by };
}

export function holds(r: Rectangle, x: number, y: number): boolean {
  return x >= r.x && y >= r.y && x < r.x + r.w && y < r.y + r.h;
}

export function samePlace(a: Rectangle, b: Rectangle): boolean {
  return a.x === b.x && a.y === b.y && a.w === b.w && a.h === b.h;
}

/** Collects points and tells the rectangle around them. */
export class Bounds {
  private left = Infinity;
  private top = Infinity;
  private right = -Infinity;
  private bottom = -Infinity;

  add(x: number, y: number): void {
    if (x < this.left) this.left = x;
    if (x > this.right) this.right = x;
    if (y < this.top) this.top = y;
    if (y > this.bottom) this.bottom = y;
  }

  get rectangle(): Rectangle {
    if (this.right < this.left) return NOTHING;
    return { x: this.left, y: this.top, w: this.right - this.left + 1, h: this.bottom - this.top + 1 };
  }
}
