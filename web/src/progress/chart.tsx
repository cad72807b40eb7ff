import type { JSX } from "preact";

export interface Series {
  name: string;
  colour: number;
  dashed?: boolean;
  points: readonly { x: number; y: number; low?: number; high?: number; note?: string }[];
  dots?: boolean;
}

interface ChartProps {
  title: string;
  xName: string;
  yName: string;
  series: readonly Series[];
  /** Fixed ends of the axis of values; else those of the values. */
  yRange?: readonly [number, number];
}

const W = 640;
const H = 280;
const LEFT = 52;
const RIGHT = 14;
const TOP = 14;
const BOTTOM = 42;

/** Round numbers that divide an axis into about n parts. */
export function ticks(from: number, to: number, n: number): number[] {
  const span = to - from;
  if (!(span > 0)) return [from];
  const rough = span / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough)!;
  const found: number[] = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/** Lines over a common axis, with intervals as bars where points have them. The values belong in a table beside it, too. */
export function Chart({ title, xName, yName, series, yRange }: ChartProps): JSX.Element {
  const all = series.flatMap((s) => s.points);
  const xs = all.map((p) => p.x);
  const ys = all.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]);
  const x0 = Math.min(0, ...xs);
  const x1 = Math.max(1, ...xs) * (series.some((s) => s.dots) ? 1.06 : 1);
  const [y0, y1] = yRange ?? [Math.min(0, ...ys), Math.max(1e-6, ...ys) * 1.05];
  const sx = (x: number): number => LEFT + ((x - x0) / (x1 - x0)) * (W - LEFT - RIGHT);
  const sy = (y: number): number => H - BOTTOM - ((Math.min(y1, Math.max(y0, y)) - y0) / (y1 - y0)) * (H - TOP - BOTTOM);
  return (
    <svg class="chart" viewBox={`0 0 ${W} ${H}`} role="img" aria-label={title}>
      {ticks(y0, y1, 5).map((y) => (
        <g key={`y${y}`}>
          <line class="grid" x1={LEFT} x2={W - RIGHT} y1={sy(y)} y2={sy(y)} />
          <text class="tick" x={LEFT - 8} y={sy(y) + 4} text-anchor="end">
            {y}
          </text>
        </g>
      ))}
      {ticks(x0, x1, 8).map((x) => (
        <text key={`x${x}`} class="tick" x={sx(x)} y={H - BOTTOM + 18} text-anchor="middle">
          {x}
        </text>
      ))}
      <text class="axis" x={(LEFT + W - RIGHT) / 2} y={H - 6} text-anchor="middle">
        {xName}
      </text>
      <text class="axis" transform={`rotate(-90 13 ${(TOP + H - BOTTOM) / 2})`} x={13} y={(TOP + H - BOTTOM) / 2} text-anchor="middle">
        {yName}
      </text>
      {series.map((s) => (
        <g key={s.name} class={`series c${s.colour % 7}`}>
          <polyline points={s.points.map((p) => `${sx(p.x).toFixed(1)},${sy(p.y).toFixed(1)}`).join(" ")} stroke-dasharray={s.dashed ? "5 4" : undefined} />
          {s.points.map(
            (p) =>
              p.low !== undefined &&
              p.high !== undefined && <path key={`i${p.x}`} d={`M${sx(p.x)} ${sy(p.low)}V${sy(p.high)}M${sx(p.x) - 5} ${sy(p.low)}h10M${sx(p.x) - 5} ${sy(p.high)}h10`} />,
          )}
          {s.dots &&
            s.points.map((p) => (
              <circle key={`d${p.x}`} cx={sx(p.x)} cy={sy(p.y)} r={4.5}>
                {p.note && <title>{p.note}</title>}
              </circle>
            ))}
        </g>
      ))}
    </svg>
  );
}
