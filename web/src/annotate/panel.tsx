import { useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Signal } from "@preact/signals";
import { postJob, said } from "../api/requests";
import { CLASS_COLOURS, css } from "../drawing/paint";
import { project } from "../shell/store";
import { counted } from "../shell/words";
import { accept, acceptAll, setClass, type Actions } from "./commands";
import * as settings from "./settings";
import type { Stage } from "./stage";

export function Panel({ stage }: { stage: Stage; actions: Actions }): JSX.Element {
  return (
    <aside class="panel" aria-label="Settings of the drawing">
      <Proposal stage={stage} />
      <Classes stage={stage} />
      <section>
        <h2>Brush</h2>
        <Slider name="Size" signal={settings.brushSize} min={settings.SMALLEST_BRUSH} max={settings.LARGEST_BRUSH} step={1} format={(v) => `${v} px`} curve={2.5} />
      </section>
      <section>
        <div class="row between">
          <h2>Objects</h2>
          <Count stage={stage} />
        </div>
        <Slider name="Opacity" signal={settings.opacity} min={0} max={1} step={0.05} format={percent} />
        <div class="row between">
          <Check name="Outlines only" signal={settings.outlinesOnly} />
          <Check name="Hide (H)" signal={settings.overlayHidden} />
        </div>
      </section>
      {stage.drawing.detail.value.has_uncertainty && (
        <section>
          <div class="row between">
            <h2>Uncertainty</h2>
            <Check name="Show (U)" signal={settings.uncertaintyShown} />
          </div>
          <Slider name="Strength" signal={settings.uncertaintyOpacity} min={0.1} max={1} step={0.05} format={percent} />
        </section>
      )}
      <section>
        <div class="row between">
          <h2>Image</h2>
          <button type="button" class="small quiet" onClick={settings.resetLook}>
            Reset
          </button>
        </div>
        <Slider name="Brightness" signal={settings.brightness} min={0.3} max={3} step={0.05} format={percent} />
        <Slider name="Contrast" signal={settings.contrast} min={0.3} max={3} step={0.05} format={percent} />
        <Slider name="Gamma" signal={settings.gamma} min={0.3} max={3} step={0.05} format={(v) => v.toFixed(2)} />
      </section>
    </aside>
  );
}

const percent = (v: number): string => `${Math.round(v * 100)} %`;

interface SliderProps {
  name: string;
  signal: Signal<number>;
  min: number;
  max: number;
  step: number;
  format: (value: number) => string;
  /** More than 1: finer at the low end. */
  curve?: number;
}

function Slider({ name, signal, min, max, step, format, curve = 1 }: SliderProps): JSX.Element {
  const position = ((signal.value - min) / (max - min)) ** (1 / curve);
  const take = (text: string): void => {
    const value = min + (max - min) * Number(text) ** curve;
    signal.value = Math.round(value / step) * step;
  };
  return (
    <label class="slider">
      <span>{name}</span>
      <output>{format(signal.value)}</output>
      <input type="range" aria-label={name} min={0} max={1} step={curve === 1 ? step / (max - min) : 0.01} value={position} aria-valuetext={format(signal.value)} onInput={(event) => take(event.currentTarget.value)} />
    </label>
  );
}

function Check({ name, signal }: { name: string; signal: Signal<boolean> }): JSX.Element {
  return (
    <label class="check">
      <input type="checkbox" checked={signal.value} onChange={(event) => (signal.value = event.currentTarget.checked)} />
      {name}
    </label>
  );
}

function Count({ stage }: { stage: Stage }): JSX.Element {
  void stage.drawing.revision.value;
  const n = stage.drawing.index.objects.size;
  return (
    <p class="fine" data-testid="object-count" data-count={n}>
      {counted(n, "object")}
      {stage.drawing.loadsWhole ? "" : " in what is loaded"}
    </p>
  );
}

function Classes({ stage }: { stage: Stage }): JSX.Element | null {
  const classes = project.value?.classes ?? [];
  void stage.drawing.revision.value;
  if (classes.length < 2) return null;
  const selected = stage.drawing.selected.value;
  const now = selected ? (stage.drawing.classes.get(selected) ?? 0) : settings.currentClass.value;
  return (
    <section>
      <h2>{selected ? "Class of the object" : "Class drawn next"}</h2>
      <div class="class-list" role="group" aria-label="Classes">
        {classes.map((name, i) => (
          <button key={name} type="button" class="class-button" aria-pressed={i === now} data-testid="class" onClick={() => void setClass(stage, i)}>
            <span class="swatch" ref={(element) => outlined(element, i)} />
            <span class="grow">{name}</span>
            {i < 9 && <kbd>{i + 1}</kbd>}
          </button>
        ))}
      </div>
    </section>
  );
}

function outlined(element: HTMLElement | null, index: number): void {
  const colour = CLASS_COLOURS[index % CLASS_COLOURS.length];
  if (element) element.style.borderColor = colour ? css(colour) : "transparent";
}

function Proposal({ stage }: { stage: Stage }): JSX.Element | null {
  const { drawing } = stage;
  const [problem, setProblem] = useState("");
  void drawing.revision.value;
  const detail = drawing.detail.value;
  const untouched = detail.version === null && !detail.has_draft && !drawing.history.canUndo;
  const attempt = (work: Promise<unknown>): void => void work.then(() => setProblem(""), (error: unknown) => setProblem(said(error)));
  const refusal = problem && <p class="problem" role="alert">{problem}</p>;
  if (drawing.isProposal) {
    const total = drawing.index.objects.size;
    const open = drawing.openProposals().length;
    return (
      <section class="proposal">
        <h2>Proposed by round {detail.proposal_round ?? "–"}</h2>
        <p data-testid="proposal-count">
          {total - open} of {total} looked at{drawing.loadsWhole ? "" : ", of those on the screen so far"}
        </p>
        <progress max={Math.max(1, total)} value={total - open} aria-label="Proposed objects looked at" />
        <div class="row">
          <button type="button" disabled={!open && drawing.loadsWhole} onClick={() => void accept(stage)}>
            Accept (A)
          </button>
          <button type="button" class="quiet" disabled={!open && drawing.loadsWhole} onClick={() => void acceptAll(stage)}>
            Accept all
          </button>
        </div>
        {untouched && (
          <button type="button" class="small" onClick={() => attempt(drawing.start("empty"))}>
            Start empty instead
          </button>
        )}
        {refusal}
      </section>
    );
  }
  if (!untouched) return null;
  const trained = project.value?.rounds.some((round) => round.status === "trained");
  if (!detail.has_proposal && !trained) return null;
  if (detail.role === "validation") return <p class="fine">This image is for validation. It starts empty on purpose, so that the networks do not judge themselves.</p>;
  return (
    <section class="proposal">
      <h2>Proposal</h2>
      {detail.has_proposal ? (
        <button type="button" onClick={() => attempt(drawing.start("proposal"))}>
          Start from the proposal
        </button>
      ) : (
        <button type="button" onClick={() => attempt(postJob("predict", { image: drawing.id }))}>
          Ask the networks for a proposal
        </button>
      )}
      {refusal}
    </section>
  );
}
