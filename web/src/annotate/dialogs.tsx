import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { said } from "../api/requests";
import { Dialog, FormEnd } from "../shell/dialog";
import { GESTURES, SHORTCUTS } from "./commands";

export function HelpDialog({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Dialog title="Keys" testId="help" onClose={onClose} wide>
      <dl class="keys">
        {[...SHORTCUTS, ...GESTURES].map(({ keys, does }) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p class="fine">
        A stroke changes one object: the one it begins on, else the selected one, else a new one. It never takes pixels of other objects unless Shift is held. The eraser takes
        pixels of the selected object, or of the one it was pressed on.
      </p>
    </Dialog>
  );
}

const REASONS = ["out of focus", "artefact", "wrong tissue", "cannot be told apart"];

export function UnusableDialog({ onClose, onSubmit }: { onClose: () => void; onSubmit: (reason: string) => Promise<void> }): JSX.Element {
  const [reason, setReason] = useState("");
  const [problem, setProblem] = useState("");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!reason.trim()) return setProblem("Please say why.");
    try {
      await onSubmit(reason.trim());
    } catch (error) {
      setProblem(said(error));
    }
  };
  return (
    <Dialog title="Mark as unusable" testId="unusable-dialog" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <p>The image is neither suggested nor trained on any more. This can be taken back in the list of images.</p>
        <label class="field">
          Reason
          <input type="text" list="reasons" value={reason} onInput={(event) => setReason(event.currentTarget.value)} autofocus />
          <datalist id="reasons">
            {REASONS.map((it) => (
              <option key={it} value={it} />
            ))}
          </datalist>
        </label>
        <FormEnd problem={problem} submit="Mark as unusable" onCancel={onClose} />
      </form>
    </Dialog>
  );
}

export function CompleteDialog({ open, onClose, onAcceptAll }: { open: number; onClose: () => void; onAcceptAll: () => Promise<void> }): JSX.Element {
  return (
    <Dialog title="Proposed objects are left" testId="complete-dialog" onClose={onClose}>
      <p>
        {open === 1 ? "One proposed object has" : `${open} proposed objects have`} not been looked at. A complete image is taken as true, so look at {open === 1 ? "it" : "them"} first, or
        accept {open === 1 ? "it as it is" : "them all as they are"}.
      </p>
      <div class="row end">
        <button type="button" class="quiet" onClick={onClose}>
          Look at them
        </button>
        <button type="button" class="main" onClick={() => void onAcceptAll()}>
          Accept all and complete
        </button>
      </div>
    </Dialog>
  );
}
