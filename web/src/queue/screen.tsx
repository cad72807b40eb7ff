import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { jobs } from "../api/events";
import { markUsable, said, thumbnailOf, uncertaintyOf } from "../api/requests";
import type { ImageRow, ImageState, Suggestion } from "../api/contract";
import { StateChip } from "../shell/chips";
import { Icon } from "../shell/icons";
import { imagePath } from "../shell/route";
import { images, project, queue, refreshAll } from "../shell/store";
import { STATE_WORDS, STRATEGY_WORDS, ordinal } from "../shell/words";
import { SuggestDialog, TrainDialog } from "./dialogs";

export function QueueScreen(): JSX.Element {
  const [dialog, setDialog] = useState<"train" | "suggest" | null>(null);
  const q = queue.value;
  const busy = jobs.value.some((job) => job.status === "running" || job.status === "queued");
  const asked = q?.suggestions.filter((s) => s.image.state !== "unusable") ?? [];
  const done = asked.filter((s) => s.image.state === "annotated").length;
  return (
    <main class="content">
      <section aria-labelledby="suggested">
        <div class="section-head">
          <div>
            <h1 id="suggested">Annotate next</h1>
            <p class="fine">
              {q?.suggestions.length
                ? `${done} of ${asked.length} done${q.round === null ? "" : ` · chosen by round ${q.round}`}${q.strategy ? ` · ${STRATEGY_WORDS[q.strategy] ?? q.strategy}` : ""}. When all are done, train the next round.`
                : "Nothing is suggested at the moment."}
            </p>
          </div>
          <span class="grow" />
          <button type="button" onClick={() => setDialog("suggest")}>
            <Icon name="bulb" /> Suggest now
          </button>
          <button type="button" class="main" onClick={() => setDialog("train")}>
            <Icon name="train" /> Train the next round
          </button>
        </div>
        {q && q.suggestions.length === 0 && !busy && (
          <p class="empty">“Suggest now” chooses the images whose annotation helps most. Any image of the list below may be annotated, too.</p>
        )}
        <ol class="cards">
          {q?.suggestions.map((it) => (
            <SuggestionCard key={it.rank} it={it} nScored={project.value?.n_pool ?? 0} />
          ))}
        </ol>
      </section>
      {q && q.validation.length > 0 && (
        <section aria-labelledby="validation">
          <h2 id="validation">For validation</h2>
          <p class="fine measure">
            These images tell how good the networks have become; they are never trained on. They start empty on purpose: a proposal would make the networks look better than they are.
            Three to five are a good start.
          </p>
          <ul class="tiles">
            {q.validation.map((row) => (
              <li key={row.id}>
                <a class="tile" href={imagePath(row.id)} data-testid="validation">
                  <img src={thumbnailOf(row.id)} alt="" loading="lazy" />
                  <span class="tile-name">{row.name}</span>
                  <StateChip state={row.state} />
                </a>
              </li>
            ))}
          </ul>
        </section>
      )}
      <AllImages />
      {dialog === "train" && <TrainDialog onClose={() => setDialog(null)} />}
      {dialog === "suggest" && <SuggestDialog onClose={() => setDialog(null)} />}
    </main>
  );
}

function reasons(it: Suggestion): string[] {
  const found: string[] = [];
  if (it.uncertainty_rank !== null) found.push(it.uncertainty_rank === 1 ? "networks disagree most here" : `networks disagree here: ${ordinal(it.uncertainty_rank)} of all in uncertainty`);
  if (it.represents !== null) found.push(`stands for ${Math.round(it.represents * 100)} % of the images`);
  if (it.window) found.push("a part of the image is enough");
  return found;
}

function SuggestionCard({ it }: { it: Suggestion; nScored: number }): JSX.Element {
  const { image } = it;
  return (
    <li class={`card ${image.state}`} data-testid="suggestion" data-image={image.id} data-state={image.state}>
      <a class="card-link" href={imagePath(image.id)} aria-label={`${it.rank}: annotate ${image.name}`}>
        <div class="pictures">
          <img src={thumbnailOf(image.id)} alt="" loading="lazy" />
          {it.has_uncertainty && <img class="uncertainty" src={uncertaintyOf(image.id)} alt="Uncertainty map: bright where the networks disagree" loading="lazy" />}
          <span class="rank">{it.rank}</span>
        </div>
        <div class="card-body">
          <div class="row between">
            <strong class="card-name">{image.name}</strong>
            <StateChip state={image.state} />
          </div>
          <ul class="reasons">
            {reasons(it).map((reason) => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        </div>
      </a>
      {it.nearest.length > 0 && (
        <div class="nearest">
          <span class="fine">Like</span>
          {it.nearest.slice(0, 5).map((row) => (
            <a key={row.id} href={imagePath(row.id)} title={row.name}>
              <img src={thumbnailOf(row.id)} alt={row.name} loading="lazy" />
            </a>
          ))}
        </div>
      )}
    </li>
  );
}

function AllImages(): JSX.Element {
  const [filter, setFilter] = useState<ImageState | "all">("all");
  const rows = images.value.filter((row) => filter === "all" || row.state === filter);
  const count = (state: ImageState | "all"): number => images.value.filter((row) => state === "all" || row.state === state).length;
  return (
    <section aria-labelledby="all-images">
      <div class="section-head">
        <h2 id="all-images">All images</h2>
        <span class="grow" />
        <div class="segments" role="group" aria-label="Show images that are">
          {(["all", "todo", "draft", "annotated", "incomplete", "unusable"] as const).map((state) => (
            <button key={state} type="button" aria-pressed={filter === state} onClick={() => setFilter(state)}>
              {state === "all" ? "all" : STATE_WORDS[state]} <span class="number">{count(state)}</span>
            </button>
          ))}
        </div>
      </div>
      <div class="table-frame">
        <table class="images" data-testid="images">
          <thead>
            <tr>
              <th>Image</th>
              <th>State</th>
              <th>For</th>
              <th class="figure">Objects</th>
              <th class="figure">Size</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <ImageLine key={row.id} row={row} />
            ))}
            {rows.length === 0 && (
              <tr>
                <td colSpan={6} class="fine">
                  None.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function ImageLine({ row }: { row: ImageRow }): JSX.Element {
  const [problem, setProblem] = useState("");
  const takeBack = (): void => void markUsable(row.id).then(refreshAll, (error: unknown) => setProblem(said(error)));
  return (
    <tr data-testid="image-row" data-image={row.id}>
      <td>
        <a class="line-link" href={imagePath(row.id)}>
          <img src={thumbnailOf(row.id)} alt="" loading="lazy" width="40" height="40" />
          {row.name}
        </a>
      </td>
      <td>
        <StateChip state={row.state} /> <span class="fine">{row.unusable_reason}</span>
      </td>
      <td class="fine">{row.role === "pool" ? "training" : (row.role ?? "–")}</td>
      <td class="figure">{row.n_objects ?? "–"}</td>
      <td class="figure fine">
        {row.width} × {row.height}
      </td>
      <td class="figure">
        {row.unusable_reason !== null && (
          <button type="button" class="small" onClick={takeBack}>
            Usable after all
          </button>
        )}
        {problem && <span class="problem">{problem}</span>}
      </td>
    </tr>
  );
}
