import { useSignal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { said } from "../api/requests";
import { Dialog } from "../shell/dialog";
import type { Stage } from "./stage";

type Shown = "mine" | "theirs" | "difference";

/** Two changed the same image. Nothing is overwritten before a person has chosen. */
export function ConflictDialog({ stage }: { stage: Stage }): JSX.Element | null {
  const { drawing } = stage;
  const conflict = drawing.conflict.value;
  const comparing = useSignal<Shown | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  if (!conflict) return null;

  const resolve = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    try {
      await work();
      comparing.value = null;
      setProblem("");
      stage.showOwn();
    } catch (error) {
      setProblem(said(error));
    }
    setBusy(false);
  };
  const show = async (what: Shown): Promise<void> => {
    comparing.value = what;
    if (what === "mine") return stage.showOwn();
    const version = await drawing.theirVersion();
    await stage.showOther(what === "theirs" ? "Theirs" : "Differences between mine and theirs", version, what === "difference");
  };
  const choices = (
    <div class="row">
      <button type="button" disabled={busy} onClick={() => void resolve(() => drawing.takeTheirs())}>
        Take theirs
      </button>
      <button type="button" disabled={busy} onClick={() => void resolve(() => drawing.keepMine())}>
        Keep mine on top
      </button>
    </div>
  );
  const waiting = drawing.queue.pending.length;
  const refusal = problem && <p class="problem" role="alert">{problem}</p>;

  if (comparing.value) {
    return (
      <section class="compare" aria-label="Compare the two drawings" data-testid="compare">
        <div class="segments" role="group" aria-label="What is shown">
          {(["mine", "theirs", "difference"] as const).map((what) => (
            <button key={what} type="button" aria-pressed={comparing.value === what} onClick={() => void show(what)}>
              {what === "mine" ? "Mine" : what === "theirs" ? "Theirs" : "Difference"}
            </button>
          ))}
        </div>
        {choices}
        {refusal}
      </section>
    );
  }
  return (
    <Dialog title={conflict.reason === "newer version" ? "A newer version of this image was imported" : "This image was changed elsewhere"} testId="conflict-dialog">
      <p>
        {waiting === 1 ? "Your last change was" : `Your last ${waiting} changes were`} not saved. Nothing is overwritten: look at both drawings, then choose.{" "}
        {conflict.reason === "newer version"
          ? "All that was saved, yours and theirs, stays in the history. “Take theirs” gives up what was not saved."
          : "Another tab drew on it, or another part of it is asked for by now. “Take theirs” gives up what was not saved, “Keep mine on top” draws it again over theirs."}
      </p>
      <div class="row">
        <button type="button" class="main" autofocus onClick={() => void show("difference")}>
          Compare
        </button>
        {choices}
      </div>
      {refusal}
    </Dialog>
  );
}
