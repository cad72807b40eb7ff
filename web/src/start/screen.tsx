import { signal, useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { jobs, onJobFinished } from "../api/events";
import { postJob, putClasses, said } from "../api/requests";
import icon from "../look/icon.svg";
import { SuggestForm } from "../queue/dialogs";
import { Icon } from "../shell/icons";
import { JobStrip } from "../shell/jobs";
import { go, queuePath } from "../shell/route";
import { project, refreshAll } from "../shell/store";
import { droppedFiles, refusals, upload, uploading, uploads } from "./uploading";

type Step = 1 | 2 | 3;

/** The three steps of a project without images. */
export function FirstRun(): JSX.Element {
  const step = useSignal<Step>(1);
  useEffect(() => {
    FirstRun.active.value = true;
  }, []);
  const leave = (): void => {
    FirstRun.active.value = false;
    void refreshAll();
    go(queuePath);
  };
  const names = ["Name the classes", "Add the images", "Suggest the first images"];
  return (
    <main class="first-run">
      <header>
        <img src={icon} alt="" width="40" height="40" />
        <div>
          <h1>{project.value!.name}</h1>
          <p class="fine">Three steps, then the first image can be annotated.</p>
        </div>
      </header>
      <ol class="steps">
        {names.map((name, i) => (
          <li key={name} class={step.value > i + 1 ? "past" : ""} aria-current={step.value === i + 1 ? "step" : undefined}>
            <span class="step-number">{step.value > i + 1 ? <Icon name="check" size={15} /> : i + 1}</span> {name}
          </li>
        ))}
      </ol>
      <div class="box">
        {step.value === 1 && <ClassesStep onDone={() => (step.value = 2)} />}
        {step.value === 2 && <ImagesStep onBack={() => (step.value = 1)} onDone={() => (step.value = 3)} />}
        {step.value === 3 && <SuggestStep onBack={() => (step.value = 2)} onDone={leave} />}
      </div>
      <button type="button" class="link" hidden={step.value === 1 || !project.value || (project.value.n_images === 0 && uploads.value.added === 0)} onClick={leave}>
        Skip to the queue
      </button>
    </main>
  );
}
/** Whether the steps are under way; they go on when the first image has arrived. */
FirstRun.active = signal(false);

function ClassesStep({ onDone }: { onDone: () => void }): JSX.Element {
  const [classes, setClasses] = useState(project.value!.classes.length ? project.value!.classes : [""]);
  const [problem, setProblem] = useState("");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const names = classes.map((name) => name.trim());
    if (names.some((name) => !name)) return setProblem("Every class needs a name.");
    if (new Set(names).size < names.length) return setProblem("Two classes have the same name.");
    try {
      project.value = await putClasses(names);
      onDone();
    } catch (error) {
      setProblem(said(error));
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <h2>What do you want to outline?</h2>
      <p class="fine">One class is usual: glands, say, or nuclei. The classes cannot be changed after the first annotation.</p>
      {classes.map((name, i) => (
        <div class="row" key={i}>
          <input
            type="text"
            class="grow"
            aria-label={`Class ${i + 1}`}
            value={name}
            maxLength={60}
            required
            onInput={(event) => setClasses(classes.map((old, j) => (j === i ? event.currentTarget.value : old)))}
          />
          <button type="button" class="quiet square" aria-label={`Remove class ${i + 1}`} disabled={classes.length === 1} onClick={() => setClasses(classes.filter((_, j) => j !== i))}>
            <Icon name="close" />
          </button>
        </div>
      ))}
      {problem && <p class="problem" role="alert">{problem}</p>}
      <div class="row between">
        <button type="button" class="quiet" disabled={classes.length >= 9} onClick={() => setClasses([...classes, ""])}>
          <Icon name="plus" /> Add a class
        </button>
        <button type="submit" class="main">
          Next
        </button>
      </div>
    </form>
  );
}

function ImagesStep({ onBack, onDone }: { onBack: () => void; onDone: () => void }): JSX.Element {
  const [over, setOver] = useState(false);
  const { total, done, added, duplicates } = uploads.value;
  const take = (input: HTMLInputElement): void => {
    upload([...(input.files ?? [])]);
    input.value = "";
  };
  const asFolder = (element: HTMLInputElement | null): void => void element?.setAttribute("webkitdirectory", "");
  const any = added + duplicates > 0 || (project.value?.n_images ?? 0) > 0;
  return (
    <div>
      <h2>Which images?</h2>
      <p class="fine">png, jpg, bmp and tif; slides of up to 64 MiB (larger ones by frugalseg init). They are copied into the project; your files stay as they are. Annotate nothing beforehand: the program suggests where to begin.</p>
      <div
        class={over ? "drop over" : "drop"}
        data-testid="drop"
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          if (event.dataTransfer) void droppedFiles(event.dataTransfer).then(upload);
        }}
      >
        <Icon name="folder" size={36} />
        <p>Drop images or folders here, or</p>
        <div class="row">
          <label class="button main">
            Choose a folder
            <input class="hidden" type="file" multiple ref={asFolder} data-testid="folder-input" onChange={(event) => take(event.currentTarget)} />
          </label>
          <label class="button">
            Choose files
            <input class="hidden" type="file" multiple accept=".png,.jpg,.jpeg,.bmp,.tif,.tiff,.bif,.czi,.ndpi,.scn,.svs,.svslide,.zvi" data-testid="files-input" onChange={(event) => take(event.currentTarget)} />
          </label>
        </div>
      </div>
      {total > 0 && (
        <div class="upload-state" role="status" data-testid="upload-state">
          <progress max={total} value={done} aria-label="Images sent" />
          <p>
            {done} of {total} sent · {added} added{duplicates > 0 && ` · ${duplicates} were there already`}
          </p>
        </div>
      )}
      {refusals.value.length > 0 && (
        <details open class="refusals" data-testid="refusals">
          <summary>{refusals.value.length} not taken</summary>
          <ul>
            {refusals.value.map((it, i) => (
              <li key={i}>
                <strong>{it.name}</strong>: {it.reason}
              </li>
            ))}
          </ul>
        </details>
      )}
      <div class="row between">
        <button type="button" class="quiet" onClick={onBack}>
          Back
        </button>
        <button type="button" class="main" disabled={!any || uploading.value} onClick={onDone}>
          Next
        </button>
      </div>
    </div>
  );
}

function SuggestStep({ onBack, onDone }: { onBack: () => void; onDone: () => void }): JSX.Element {
  const [job, setJob] = useState<number | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(
    () =>
      onJobFinished((it) => {
        if (it.id !== job) return;
        if (it.status === "done") onDone();
        else {
          setProblem(it.message ?? `The job was ${it.status}.`);
          setJob(null);
        }
      }),
    [job],
  );
  // A quick job may be over before its number is known here.
  const over = jobs.value.find((it) => it.id === job)?.status === "done";
  useEffect(() => {
    if (over) onDone();
  }, [over]);
  return (
    <div>
      <h2>Where to begin?</h2>
      <p class="fine">Chooses images that differ from each other and stand for the rest. Eight are a good start. Some more are set aside for validation.</p>
      {job === null ? (
        <SuggestForm
          submit="Suggest the first images"
          busy={false}
          problem={problem}
          onSubmit={(settings) => void postJob("suggest", settings).then((it) => setJob(it.id), (error: unknown) => setProblem(said(error)))}
          onCancel={onBack}
        />
      ) : (
        <JobStrip />
      )}
    </div>
  );
}
