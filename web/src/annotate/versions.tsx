import { useEffect, useState } from "preact/hooks";
import { useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { getVersions, said } from "../api/requests";
import type { VersionRow } from "../api/contract";
import { Icon } from "../shell/icons";
import { counted, sourceWords, when } from "../shell/words";
import type { Stage } from "./stage";

/** Old versions of the drawing: look at one, then restore it. */
export function VersionDrawer({ stage, onClose }: { stage: Stage; onClose: () => void }): JSX.Element {
  const { drawing } = stage;
  const [versions, setVersions] = useState<VersionRow[] | null>(null);
  const [shown, setShown] = useState<number | null>(null);
  const [problem, setProblem] = useState("");
  const load = (): void => void getVersions(drawing.id).then(setVersions, (error: unknown) => setProblem(said(error)));
  useEffect(load, [drawing.detail.value.version]);
  useEffect(() => () => stage.showOwn(), []);
  useSignalEffect(() => {
    if (stage.showing.value === null) setShown(null);
  });
  const preview = (version: number): void => {
    setShown(version);
    void stage.showOther(`Version ${version}`, version);
  };
  const restore = async (version: number): Promise<void> => {
    try {
      await drawing.restore(version);
      stage.showOwn();
      stage.tell(`Version ${version} is back. What was there before stays in the list.`);
      load();
    } catch (error) {
      setProblem(said(error));
    }
  };
  return (
    <aside class="panel" aria-label="Versions" data-testid="versions">
      <header class="dialog-head">
        <h2>Versions</h2>
        <button type="button" class="quiet square" aria-label="Close versions" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      {problem && <p class="problem" role="alert">{problem}</p>}
      {versions?.length === 0 && <p class="fine">None yet. One is made when the image is marked complete, when you leave it, and every five minutes while you draw.</p>}
      <ol class="versions">
        {versions?.map((row) => (
          <li key={row.version} data-testid="version" class={shown === row.version ? "shown" : ""}>
            <strong>Version {row.version}</strong>
            <span class="fine">
              {when(row.created_at)} · {sourceWords(row.source)} · {counted(row.n_objects, "object")}
              {row.complete ? " · complete" : ""}
            </span>
            <div class="row">
              <button type="button" class="small" aria-pressed={shown === row.version} onClick={() => (shown === row.version ? stage.showOwn() : preview(row.version))}>
                Preview
              </button>
              {shown === row.version && (
                <button type="button" class="small main" onClick={() => void restore(row.version)}>
                  Restore this version
                </button>
              )}
            </div>
          </li>
        ))}
      </ol>
    </aside>
  );
}
