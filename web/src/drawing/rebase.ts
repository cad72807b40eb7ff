import type { Patch } from "./patch";

/**
 * A patch made on one state of a drawing, made again on another: the pixels that it changed get the labels it gave them, all
 * others stay as they are in `theirs`. `renamed` gives new objects numbers that nobody else has taken.
 */
export function rebased(patch: Patch, theirs: Int32Array, renamed: (label: number) => number): Patch {
  const after = theirs.slice();
  for (let i = 0; i < after.length; i++) {
    if (patch.before[i] === patch.after[i]) continue;
    const label = patch.after[i]!;
    after[i] = label > 0 ? renamed(label) : label;
  }
  const classes = Object.fromEntries(Object.entries(patch.classesAfter).map(([label, c]) => [renamed(Number(label)), c]));
  return { ...patch, before: theirs, after, classesBefore: {}, classesAfter: classes, acceptedBefore: null, acceptedAfter: null };
}
