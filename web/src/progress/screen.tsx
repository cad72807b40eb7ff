import type { JSX } from "preact";
import { jobs, progress } from "../api/events";
import { overlayOf } from "../api/requests";
import type { ProgressRow, RoundRow } from "../api/contract";
import { imagePath } from "../shell/route";
import { project } from "../shell/store";
import { when } from "../shell/words";
import { Chart, type Series } from "./chart";

export function ProgressScreen(): JSX.Element {
  const p = project.value!;
  return (
    <main class="content">
      <h1>Progress</h1>
      <div class="figures">
        <Figure value={p.n_annotated} name={`of ${p.n_images - p.n_validation - p.n_unusable} images annotated`} />
        <Figure value={p.cost.objects} name="objects drawn" />
        <Figure value={Math.round(p.cost.contour_px)} name="pixels of contour" />
        <Figure value={p.n_validation_annotated} name={`of ${p.n_validation} validation images`} />
        <Figure value={p.n_unusable} name="unusable" />
      </div>
      <div class="two">
        <Rounds rounds={p.rounds} />
        <Losses />
      </div>
      <Worst rounds={p.rounds} />
    </main>
  );
}

function Figure({ value, name }: { value: number; name: string }): JSX.Element {
  return (
    <div class="figure-card">
      <b>{value.toLocaleString()}</b>
      <span>{name}</span>
    </div>
  );
}

function Rounds({ rounds }: { rounds: readonly RoundRow[] }): JSX.Element {
  const judged = rounds.filter((round) => round.status === "trained" && round.object_dice !== null);
  const points = judged.map((round) => ({
    x: round.n_labelled,
    y: round.object_dice!,
    note: `round ${round.number}: ${round.object_dice!.toFixed(3)}`,
    ...(round.interval ? { low: round.interval[0], high: round.interval[1] } : {}),
  }));
  return (
    <section class="box" aria-labelledby="rounds" data-testid="rounds">
      <h2 id="rounds">How good the networks are</h2>
      <p class="fine">Object Dice on the annotated validation images, with 95 % intervals, against the number of images learnt from.</p>
      {points.length ? (
        <Chart title="Object Dice against number of annotated images" xName="images learnt from" yName="object Dice" yRange={[0, 1]} series={[{ name: "object Dice", colour: 4, points, dots: true }]} />
      ) : (
        <p class="empty">No round has been judged yet. It takes a trained round and at least one annotated validation image.</p>
      )}
      {rounds.length > 0 && (
        <div class="table-frame">
          <table>
            <caption class="hidden">Rounds</caption>
            <thead>
              <tr>
                <th>Round</th>
                <th>State</th>
                <th class="figure">Images</th>
                <th class="figure">Networks</th>
                <th class="figure">Object Dice</th>
                <th class="figure">Object F1</th>
                <th>Finished</th>
              </tr>
            </thead>
            <tbody>
              {rounds.map((round) => (
                <tr key={round.number}>
                  <td>{round.number}</td>
                  <td>{round.status}</td>
                  <td class="figure">{round.n_labelled}</td>
                  <td class="figure">{round.n_members}</td>
                  <td class="figure">
                    {number(round.object_dice)} {round.interval && <span class="fine">({round.interval.map(number).join("–")})</span>}
                  </td>
                  <td class="figure">{number(round.object_f1)}</td>
                  <td class="fine">{round.finished_at ? when(round.finished_at) : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function number(value: number | null): string {
  return value === null ? "–" : value.toFixed(3);
}

/** One line per member and phase; the steps of the second phase go on after those of the first. */
function lossSeries(rows: readonly ProgressRow[]): Series[] {
  const found = new Map<string, { name: string; colour: number; dashed: boolean; points: { x: number; y: number }[] }>();
  const floatSteps = Math.max(0, ...rows.filter((row) => row.phase === "float").map((row) => row.steps));
  for (const row of rows) {
    // Before the members there may be a network from which all of them begin.
    const common = row.member < 0;
    const name = `${common ? "common beginning" : `network ${row.member + 1}`}${row.phase === "quantized" ? ", few bits" : ""}`;
    if (!found.has(name)) found.set(name, { name, colour: common ? 6 : row.member, dashed: row.phase === "quantized", points: [] });
    found.get(name)!.points.push({ x: row.step + (row.phase === "quantized" ? floatSteps : 0), y: row.loss });
  }
  // Members run side by side, and any of them may be the first to tell.
  return [...found.values()].sort((a, b) => a.colour - b.colour || Number(a.dashed) - Number(b.dashed));
}

function Losses(): JSX.Element {
  const job = jobs.value.find((it) => it.kind === "train" && it.status === "running") ?? jobs.value.find((it) => it.kind === "train" && progress.value.has(it.id));
  const rows = job ? (progress.value.get(job.id) ?? []) : [];
  const series = lossSeries(rows);
  return (
    <section class="box" aria-labelledby="losses" data-testid="losses">
      <h2 id="losses">Loss while training</h2>
      <p class="fine">{job ? (job.status === "running" ? "Running now." : "The newest training.") : "Shown here while a round is trained."}</p>
      {series.length === 0 ? (
        <p class="empty">{job?.status === "running" ? "The first values come soon." : "No training since the server was started."}</p>
      ) : (
        <>
          <Chart title="Loss of each network against steps" xName="steps" yName="loss" series={series} />
          <ul class="legend">
            {series.map((s) => (
              <li key={s.name} class={`c${s.colour % 7}${s.dashed ? " dashed" : ""}`}>
                {s.name}
              </li>
            ))}
          </ul>
          <details>
            <summary>Newest values as a table</summary>
            <div class="table-frame">
              <table>
                <thead>
                  <tr>
                    <th>Network</th>
                    <th class="figure">Step</th>
                    <th class="figure">Loss</th>
                  </tr>
                </thead>
                <tbody>
                  {series.map((s) => (
                    <tr key={s.name}>
                      <td>{s.name}</td>
                      <td class="figure">{s.points.at(-1)?.x}</td>
                      <td class="figure">{s.points.at(-1)?.y.toFixed(4)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </details>
        </>
      )}
    </section>
  );
}

function Worst({ rounds }: { rounds: readonly RoundRow[] }): JSX.Element | null {
  const newest = [...rounds].sort((a, b) => b.number - a.number).find((round) => round.worst.length > 0);
  if (!newest) return null;
  return (
    <section aria-labelledby="worst">
      <h2 id="worst">Where round {newest.number} is worst</h2>
      <p class="fine">
        Validation images with <span class="key predicted">the prediction</span> and <span class="key drawn">the annotation</span> outlined. Look here for what to annotate next, and for
        annotations to mend.
      </p>
      <ul class="gallery">
        {newest.worst.map((it) => (
          <li key={it.image}>
            <a class="tile" href={imagePath(it.image)} data-testid="worst">
              <img src={overlayOf(it.image, newest.number)} alt={`Prediction and annotation of ${it.name}`} loading="lazy" />
              <span class="tile-name">{it.name}</span>
              <span class="fine">object Dice {number(it.object_dice)}</span>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
