import type { JSX } from "preact";
import { Icon } from "../shell/icons";
import { queuePath } from "../shell/route";
import { StateChip } from "../shell/chips";
import { JobStrip } from "../shell/jobs";
import type { Actions } from "./commands";
import type { ImageDrawing } from "./drawing";
import type { Stage } from "./stage";

export function TopBar({ stage, actions, openVersions }: { stage: Stage; actions: Actions; openVersions: () => void }): JSX.Element {
  const detail = stage.drawing.detail.value;
  return (
    <header class="topbar">
      <a class="button quiet" href={queuePath} aria-label="Back to the queue">
        <Icon name="back" /> Queue
      </a>
      <h1 class="image-name" title={detail.name} data-testid="image-name">
        {detail.name}
      </h1>
      <StateChip state={detail.unusable_reason !== null ? "unusable" : detail.state} />
      {detail.role === "validation" && <span class="chip" title="Tells how good the networks are; it is never trained on.">validation</span>}
      <SaveStateText drawing={stage.drawing} />
      <span class="grow" />
      <JobStrip compact />
      <button type="button" class="quiet" onClick={openVersions}>
        <Icon name="history" /> Versions
      </button>
      <button type="button" class="quiet" aria-label="Unusable (X)" onClick={actions.unusable}>
        <Icon name="bad" /> Unusable
      </button>
      <button type="button" class="quiet square" aria-label="Help (?)" title="All keys (?)" onClick={actions.help}>
        <Icon name="help" />
      </button>
      <button type="button" aria-label="Complete (C)" onClick={actions.complete}>
        <Icon name="check" /> Complete
      </button>
      <button type="button" class="main" aria-label="Next image (N)" onClick={actions.next}>
        Next <Icon name="next" />
      </button>
    </header>
  );
}

const WORDS = { saved: "saved", saving: "saving…", failed: "not saved: retrying", conflict: "not saved: conflict", refused: "not saved" } as const;

function SaveStateText({ drawing }: { drawing: ImageDrawing }): JSX.Element {
  const state = drawing.saveState.value;
  const shown = state === "refused" ? "failed" : state;
  return (
    <span class={`save-state ${shown}`} data-testid="save-state" data-state={shown} title={drawing.saveDetail.value}>
      <span class="dot" aria-hidden="true" />
      <span role="status" aria-live="polite">
        {WORDS[state]}
        {state === "refused" && `: ${drawing.saveDetail.value}`}
      </span>
      {state === "refused" && (
        <button type="button" class="small" onClick={() => void drawing.reload()}>
          Go back to what is saved
        </button>
      )}
      {state === "failed" && (
        <button type="button" class="small" onClick={() => drawing.queue.hurry()}>
          Try now
        </button>
      )}
    </span>
  );
}
