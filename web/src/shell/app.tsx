import { useEffect } from "preact/hooks";
import type { JSX } from "preact";
import { hurryAll, unsavedChanges } from "../annotate/open";
import { AnnotateScreen } from "../annotate/screen";
import { onJobFinished } from "../api/events";
import { connection } from "../api/requests";
import { ProgressScreen } from "../progress/screen";
import { QueueScreen } from "../queue/screen";
import { FirstRun } from "../start/screen";
import icon from "../look/icon.svg";
import { Icon } from "./icons";
import { JobStrip } from "./jobs";
import { progressPath, queuePath, route } from "./route";
import { project, refreshAll, refreshProject } from "./store";
import { counted } from "./words";

export function App(): JSX.Element {
  const now = route.value;
  const key = now.page === "image" ? `image ${now.id}` : now.page;
  // An image needs the names of the classes only; the lists would make it wait.
  const load = (): void => void (now.page === "image" ? refreshProject() : refreshAll()).catch(() => undefined);
  useEffect(load, [key]);
  useEffect(() => onJobFinished(() => void refreshAll().catch(() => undefined)), []);
  useEffect(() => {
    document.title = project.value ? `${project.value.name} · frugalseg` : "frugalseg";
  }, [project.value?.name]);

  if (connection.value === "ended") return <Ended retry={load} />;
  if (!project.value) {
    return connection.value === "gone" ? <Gone retry={load} /> : <main class="notice" aria-busy="true">Opening the project…</main>;
  }
  if (now.page === "image") {
    return (
      <>
        {connection.value === "gone" && <GoneBanner retry={load} />}
        <AnnotateScreen key={now.id} id={now.id} />
      </>
    );
  }
  if (connection.value === "gone") return <Gone retry={load} />;
  if (project.value.first_run || starting()) return <FirstRun />;
  return (
    <div class="page">
      <header class="pagehead">
        <span class="brand">
          <img src={icon} alt="" width="26" height="26" /> {project.value.name}
        </span>
        <nav aria-label="Screens">
          <a href={queuePath} aria-current={now.page === "queue" ? "page" : undefined}>
            <Icon name="list" /> Queue
          </a>
          <a href={progressPath} aria-current={now.page === "progress" ? "page" : undefined}>
            <Icon name="chart" /> Progress
          </a>
        </nav>
        <span class="grow" />
        <Counts />
      </header>
      <JobStrip />
      {now.page === "queue" ? <QueueScreen /> : <ProgressScreen />}
    </div>
  );
}

/** The steps of the first run go on after the first image has arrived, until something was suggested or drawn. */
function starting(): boolean {
  return FirstRun.active.value;
}

function Counts(): JSX.Element {
  const p = project.value!;
  return (
    <span class="counts" data-testid="counts">
      <b>{p.n_annotated}</b> of {p.n_images - p.n_validation - p.n_unusable} images annotated
      {p.n_validation > 0 && (
        <>
          {" "}
          · <b>{p.n_validation_annotated}</b> of {p.n_validation} for validation
        </>
      )}{" "}
      · <b>{p.cost.objects}</b> objects
    </span>
  );
}

/** Unsaved changes live on in this tab; the new address, opened in another one, lets both in. */
function Ended({ retry }: { retry: () => void }): JSX.Element {
  const unsaved = unsavedChanges();
  const again = (): void => {
    hurryAll();
    retry();
  };
  return (
    <main class="notice" data-testid="session-ended">
      <h1>This session has ended</h1>
      {unsaved === 0 ? (
        <p>
          Open the address that <code>frugalseg serve</code> printed.
        </p>
      ) : (
        <>
          <p class="problem" role="alert">
            {counted(unsaved, "change")} {unsaved === 1 ? "is" : "are"} not saved. Do not close this tab.
          </p>
          <p>
            Open the address that <code>frugalseg serve</code> printed in another tab of this browser, then come back and try again.
          </p>
          <button type="button" class="main" onClick={again}>
            Try again
          </button>
        </>
      )}
    </main>
  );
}

function Gone({ retry }: { retry: () => void }): JSX.Element {
  useEffect(() => {
    const timer = setInterval(retry, 3000);
    return () => clearInterval(timer);
  }, []);
  return (
    <main class="notice" data-testid="server-gone">
      <h1>The server does not answer</h1>
      <p>
        Is <code>frugalseg serve</code> still running? This page tries again every few seconds.
      </p>
      <button type="button" class="main" onClick={retry}>
        Try now
      </button>
    </main>
  );
}

function GoneBanner({ retry }: { retry: () => void }): JSX.Element {
  return (
    <div class="banner" role="alert" data-testid="server-gone">
      The server does not answer. What you draw is kept here and saved when it is back.
      <button type="button" class="small" onClick={retry}>
        Try now
      </button>
    </div>
  );
}
