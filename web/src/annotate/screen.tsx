import { useEffect, useRef, useState } from "preact/hooks";
import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { markUnusable, said } from "../api/requests";
import { onJobFinished } from "../api/events";
import { go, imagePath, queuePath } from "../shell/route";
import { imageAfter, project, refreshAll } from "../shell/store";
import { SHORTCUTS, acceptAll, type Actions } from "./commands";
import { ConflictDialog } from "./conflict";
import { CompleteDialog, HelpDialog, UnusableDialog } from "./dialogs";
import type { ImageDrawing } from "./drawing";
import { TopBar } from "./head";
import { closeDrawing, openDrawing } from "./open";
import { Panel } from "./panel";
import { PointerInput } from "./pointer";
import { gamma, overlayHidden } from "./settings";
import { Stage } from "./stage";
import { ToolBar } from "./toolbar";
import { VersionDrawer } from "./versions";

const VERSION_EVERY_MS = 5 * 60 * 1000;

export function AnnotateScreen({ id }: { id: number }): JSX.Element {
  const [drawing, setDrawing] = useState<ImageDrawing | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let gone = false;
    let opened: ImageDrawing | null = null;
    openDrawing(id).then(
      (it) => {
        if (gone) return closeDrawing(it);
        opened = it;
        setDrawing(it);
      },
      (error: unknown) => setProblem(said(error)),
    );
    return () => {
      gone = true;
      if (opened) closeDrawing(opened);
    };
  }, [id]);
  if (problem) {
    return (
      <main class="notice">
        <h1>This image cannot be opened</h1>
        <p>{problem}</p>
        <a class="button" href={queuePath}>
          Back to the queue
        </a>
      </main>
    );
  }
  return drawing ? <Workplace key={id} drawing={drawing} /> : <main class="notice" aria-busy="true">Opening the image…</main>;
}

type Sheet = "help" | "unusable" | "complete" | "versions" | null;

function Workplace({ drawing }: { drawing: ImageDrawing }): JSX.Element {
  const imageElement = useRef<HTMLDivElement>(null);
  const labelCanvas = useRef<HTMLCanvasElement>(null);
  const topCanvas = useRef<HTMLCanvasElement>(null);
  const [stage, setStage] = useState<Stage | null>(null);
  const sheet = useSignal<Sheet>(null);
  const left = useSignal(0);
  const nClasses = project.value?.classes.length ?? 1;

  useEffect(() => {
    const it = new Stage(drawing, nClasses, imageElement.current!, labelCanvas.current!, topCanvas.current!);
    const pointer = new PointerInput(it);
    setStage(it);
    const timer = setInterval(() => drawing.versionIfChanged("timer"), VERSION_EVERY_MS);
    const stopKeys = listenToKeys(it, pointer, actions(it), () => ["help", "unusable", "complete"].includes(sheet.peek() ?? "") || (drawing.conflict.peek() !== null && it.showing.peek() === null));
    const stopJobs = onJobFinished((job) => {
      const own = job.kind === "predict" && job.settings["image"] === drawing.id;
      if (!own) return;
      if (job.status !== "done") return it.tell(job.status === "cancelled" ? "The proposal was cancelled." : `There is no proposal: ${job.message ?? "it failed"}`);
      void drawing.proposalCame().then((it_is) => {
        if (it_is === "kept") it.tell("The proposal has come. It is not shown, as you have drawn already.");
      });
    });
    topCanvas.current!.focus({ preventScroll: true });
    return () => {
      clearInterval(timer);
      stopKeys();
      stopJobs();
      pointer.destroy();
      it.destroy();
    };
  }, [drawing]);

  const actions = (it: Stage): Actions => ({
    complete: () => void complete(it),
    unusable: () => (sheet.value = "unusable"),
    next: () => void next(it),
    help: () => (sheet.value = "help"),
  });

  const complete = async (it: Stage): Promise<void> => {
    if (drawing.blocked) return;
    left.value = (await drawing.allOpenProposals()).length;
    if (left.value) sheet.value = "complete";
    else await finish(it);
  };

  const finish = async (it: Stage): Promise<void> => {
    if (drawing.blocked) return;
    await drawing.submit(true, "submit");
    it.tell("Marked as complete. N opens the next image.");
    void refreshAll();
  };

  const next = async (it: Stage): Promise<void> => {
    await refreshAll().catch(() => undefined);
    const to = imageAfter(drawing.id);
    if (to === null) it.tell("No other image waits in the queue.");
    else go(imagePath(to));
  };

  const dropImage = async (reason: string): Promise<void> => {
    await markUnusable(drawing.id, reason);
    sheet.value = null;
    if (stage) await next(stage);
    if (imageAfter(drawing.id) === null) go(queuePath);
  };

  useSignalEffect(() => {
    if (drawing.conflict.value) sheet.value = null;
  });

  return (
    <div class="annotate">
      {stage && <TopBar stage={stage} actions={actions(stage)} openVersions={() => (sheet.value = sheet.value === "versions" ? null : "versions")} />}
      <div class="work">
        <ToolBar stage={stage} />
        <div class="canvas-area">
          <div class="osd" ref={imageElement} />
          <canvas class="labels" ref={labelCanvas} aria-hidden="true" data-testid="labels" />
          <canvas class="top" ref={topCanvas} data-testid="drawing" data-ready="false" tabIndex={0} role="application" aria-label="Drawing. Press ? for all keys." />
          {stage && <CanvasNotes stage={stage} />}
        </div>
        {stage && sheet.value !== "versions" && <Panel stage={stage} actions={actions(stage)} />}
        {stage && sheet.value === "versions" && <VersionDrawer stage={stage} onClose={() => (sheet.value = null)} />}
      </div>
      {stage && <StatusBar stage={stage} />}
      <GammaFilter />
      {sheet.value === "help" && <HelpDialog onClose={() => (sheet.value = null)} />}
      {sheet.value === "unusable" && <UnusableDialog onClose={() => (sheet.value = null)} onSubmit={dropImage} />}
      {stage && sheet.value === "complete" && (
        <CompleteDialog
          open={left.value}
          onClose={() => (sheet.value = null)}
          onAcceptAll={async () => {
            sheet.value = null;
            await acceptAll(stage);
            await finish(stage);
          }}
        />
      )}
      {stage && <ConflictDialog stage={stage} />}
    </div>
  );
}

function listenToKeys(stage: Stage, pointer: PointerInput, actions: Actions, away: () => boolean): () => void {
  const stop = new AbortController();
  const typing = (event: KeyboardEvent): boolean => event.target instanceof Element && event.target.closest("input:not([type=range]):not([type=checkbox]), textarea, select") !== null;
  addEventListener(
    "keydown",
    (event) => {
      if (away() || typing(event)) return;
      if (stage.tool.key?.(event.key)) return event.preventDefault();
      const onControl = event.target instanceof Element && event.target.closest("button, a, input, summary") !== null;
      if (event.key === " " && !onControl) {
        event.preventDefault();
        return pointer.holdSpace(true);
      }
      // Sliders keep their arrows.
      if (onControl && event.key.startsWith("Arrow")) return;
      const shortcut = SHORTCUTS.find((it) => it.matches(event));
      if (!shortcut || (event.repeat && !"[]+-=".includes(event.key) && !event.ctrlKey && !event.key.startsWith("Arrow"))) return;
      // Half a stroke is not undone from under the pointer, and a tool is not changed in the middle of one.
      if (pointer.drawing && event.key !== "Escape") return;
      event.preventDefault();
      shortcut.run(stage, actions, event);
    },
    { signal: stop.signal },
  );
  addEventListener("keyup", (event) => event.key === " " && pointer.holdSpace(false), { signal: stop.signal });
  addEventListener("blur", () => pointer.holdSpace(false), { signal: stop.signal });
  return () => stop.abort();
}

function CanvasNotes({ stage }: { stage: Stage }): JSX.Element {
  return (
    <div class="canvas-notes">
      {stage.farOut.value && <p class="pill">Zoom in to draw</p>}
      {overlayHidden.value && <p class="pill">Objects hidden (H)</p>}
      {stage.showing.value && !stage.drawing.conflict.value && (
        <p class="pill">
          {stage.showing.value}
          <button type="button" class="small" onClick={() => stage.showOwn()}>
            Back to my drawing
          </button>
        </p>
      )}
      <div class="zoom-buttons">
        <ZoomButton stage={stage} name="+" label="Zoom in (+)" />
        <ZoomButton stage={stage} name="−" label="Zoom out (-)" />
        <ZoomButton stage={stage} name="0" label="Fit (0)" />
        {stage.drawing.detail.value.slide && (
          <button type="button" class="square" aria-label="Show in slide (W)" title="Show in slide (W)" onClick={() => stage.view.toggleSlide()}>
            ▦
          </button>
        )}
      </div>
    </div>
  );
}

function ZoomButton({ stage, name, label }: { stage: Stage; name: "+" | "−" | "0"; label: string }): JSX.Element {
  const run = (): void => (name === "0" ? stage.view.fit() : stage.view.zoomMiddle(name === "+" ? 1 : -1));
  return (
    <button type="button" class="square" aria-label={label} title={label} onClick={run}>
      {name === "0" ? "⤢" : name}
    </button>
  );
}

function StatusBar({ stage }: { stage: Stage }): JSX.Element {
  const { drawing } = stage;
  void drawing.revision.value;
  const under = stage.under.value;
  const classes = project.value?.classes ?? [];
  const words = (label: number): string => {
    const about = [`object ${label}`];
    if (classes.length > 1) about.push(classes[drawing.classes.get(label) ?? 0] ?? "");
    if (drawing.isProposed(label)) about.push("proposed");
    return about.join(" · ");
  };
  return (
    <footer class="status">
      <span class="message" role="status" aria-live="polite" data-testid="message">
        {stage.message.value}
      </span>
      <span class="grow" />
      {drawing.selected.value > 0 && <span data-testid="selected">Selected: {words(drawing.selected.value)}</span>}
      <span data-testid="under" class="under">
        {under ? `${under.x}, ${under.y}${under.label ? ` · ${words(under.label)}` : ""}` : ""}
      </span>
    </footer>
  );
}

/** Gamma has no CSS filter of its own. */
function GammaFilter(): JSX.Element {
  const exponent = String(1 / gamma.value);
  return (
    <svg class="nowhere" aria-hidden="true" width="0" height="0">
      <filter id="gamma" color-interpolation-filters="sRGB">
        <feComponentTransfer>
          <feFuncR type="gamma" exponent={exponent} />
          <feFuncG type="gamma" exponent={exponent} />
          <feFuncB type="gamma" exponent={exponent} />
        </feComponentTransfer>
      </filter>
    </svg>
  );
}
