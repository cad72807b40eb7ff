import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { postJob, said } from "../api/requests";
import type { Job } from "../api/contract";
import { Dialog, FormEnd } from "../shell/dialog";
import { project } from "../shell/store";

function useJob(kind: Job["kind"], done: () => void): { problem: string; busy: boolean; start: (settings: Record<string, unknown>) => void } {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const start = (settings: Record<string, unknown>): void => {
    setBusy(true);
    postJob(kind, settings).then(done, (error: unknown) => {
      setProblem(said(error));
      setBusy(false);
    });
  };
  return { problem, busy, start };
}

export function TrainDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const [preset, setPreset] = useState("round");
  const [members, setMembers] = useState(5);
  const [thenSuggest, setThenSuggest] = useState(true);
  const [k, setK] = useState(8);
  const { problem, busy, start } = useJob("train", onClose);
  const submit = (event: Event): void => {
    event.preventDefault();
    start({ preset, members, then_suggest: thenSuggest ? k : null });
  };
  return (
    <Dialog title="Train the next round" testId="train-dialog" onClose={onClose}>
      <form onSubmit={submit}>
        <p>
          New networks learn from the {project.value?.n_annotated ?? 0} annotated images. Go on annotating meanwhile: what is complete when the training begins takes part.
        </p>
        <fieldset class="choices">
          <legend>How long</legend>
          <label class="check">
            <input type="radio" name="preset" checked={preset === "round"} onChange={() => setPreset("round")} /> A full round
          </label>
          <label class="check">
            <input type="radio" name="preset" checked={preset === "smoke"} onChange={() => setPreset("smoke")} /> A quick try, to see that all works
          </label>
        </fieldset>
        <label class="field">
          Networks (more tell better where they are unsure, and take longer)
          <input type="number" min={1} max={20} required value={members} onInput={(event) => setMembers(event.currentTarget.valueAsNumber)} />
        </label>
        <label class="check">
          <input type="checkbox" checked={thenSuggest} onChange={(event) => setThenSuggest(event.currentTarget.checked)} /> Then suggest new images
        </label>
        {thenSuggest && (
          <label class="field">
            How many
            <input type="number" min={1} max={1000} required value={k} onInput={(event) => setK(event.currentTarget.valueAsNumber)} />
          </label>
        )}
        <FormEnd problem={problem} submit="Train" onCancel={onClose} busy={busy} />
      </form>
    </Dialog>
  );
}

export function SuggestDialog({ onClose }: { onClose: () => void }): JSX.Element {
  const { problem, busy, start } = useJob("suggest", onClose);
  return (
    <Dialog title="Suggest images" testId="suggest-dialog" onClose={onClose}>
      <p>Chooses images on which the newest networks disagree and that stand for many others.</p>
      <SuggestForm submit="Suggest" busy={busy} problem={problem} onSubmit={start} onCancel={onClose} />
    </Dialog>
  );
}

interface SuggestFormProps {
  submit: string;
  busy: boolean;
  problem: string;
  onSubmit: (settings: { k: number; object_diameter_px: number | null }) => void;
  onCancel?: () => void;
}

export function SuggestForm({ submit, busy, problem, onSubmit, onCancel }: SuggestFormProps): JSX.Element {
  const [k, setK] = useState(8);
  const [width, setWidth] = useState("");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit({ k, object_diameter_px: width === "" ? null : Number(width) });
      }}
    >
      <label class="field">
        How many images
        <input type="number" min={1} max={1000} required value={k} onInput={(event) => setK(event.currentTarget.valueAsNumber)} />
      </label>
      <label class="field">
        Usual width of an object, in pixels (may be left empty)
        <input type="number" min={1} max={10000} value={width} onInput={(event) => setWidth(event.currentTarget.value)} />
      </label>
      <FormEnd problem={problem} submit={submit} busy={busy} {...(onCancel ? { onCancel } : {})} />
    </form>
  );
}
