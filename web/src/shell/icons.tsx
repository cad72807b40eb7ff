import type { JSX } from "preact";

/** Line icons on a 24 by 24 grid, drawn in the text's colour. */
const PATHS = {
  select: "M5 3l14 8-6 1.6L10 19z",
  brush: "M14.5 4.5l5 5L10 19H5v-5zM12 7l5 5",
  eraser: "M8 20h12M4.5 15.5l9-9a2 2 0 0 1 2.8 0l3.2 3.2a2 2 0 0 1 0 2.8L12 20H8z M10 10l6 6",
  polygon: "M5 9l7-5 7 5-2.5 10h-9z",
  fill: "M5 12l7-8 7 7-7 7a1.5 1.5 0 0 1-2 0l-5-4a1.5 1.5 0 0 1 0-2zM5 12h14M20 16c1 1.5 1.5 2.3 1.5 3a1.5 1.5 0 0 1-3 0c0-.7.5-1.5 1.5-3z",
  split: "M12 3v4M12 10v4M12 17v4M8 7a6 6 0 0 0 0 10M16 7a6 6 0 0 1 0 10",
  merge: "M9 12h6M12.500 9.500L15 12l-2.500 2.500M8 6a6 6 0 1 0 0 12M16 6a6 6 0 1 1 0 12",
  undo: "M8 5L4 9l4 4M4 9h10a5 5 0 0 1 0 10h-4",
  redo: "M16 5l4 4-4 4M20 9H10a5 5 0 0 0 0 10h4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  check: "M5 12.500l4.500 4.500L19 7",
  next: "M5 12h13M13 7l5 5-5 5",
  back: "M19 12H6M11 7l-5 5 5 5",
  history: "M4 12a8 8 0 1 0 2.500-5.800M4 4v4h4M12 8v4l3 2",
  help: "M9.500 9.500a2.500 2.500 0 1 1 3.500 2.300c-.8.4-1 .9-1 1.700M12 17v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  bad: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM6 6l12 12",
  eye: "M3 12c3-5 6-7 9-7s6 2 9 7c-3 5-6 7-9 7s-6-2-9-7zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  train: "M4 19l5-7 4 3 7-10M15 5h5v5",
  bulb: "M9 18h6M10 21h4M8 15a6 6 0 1 1 8 0c-.7.700-1 1.500-1 3H9c0-1.500-.3-2.300-1-3z",
  folder: "M3 6h6l2 2h10v11H3z",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.1M4 12h.1M4 18h.1",
  chart: "M4 4v16h16M8 15l3-4 3 2 5-6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }): JSX.Element {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
