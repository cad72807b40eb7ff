import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { jobs } from "../api/events";
import { cancelJob, said } from "../api/requests";
import type { Job } from "../api/contract";
import { JOB_WORDS } from "./words";

function title(job: Job): string {
  return job.round === null ? JOB_WORDS[job.kind] : `${JOB_WORDS[job.kind]}, round ${job.round}`;
}

/** Jobs that wait or run, and the last one if it failed. */
export function JobStrip({ compact = false }: { compact?: boolean }): JSX.Element | null {
  const [problem, setProblem] = useState("");
  const [dismissed, setDismissed] = useState(0);
  const open = jobs.value.filter((job) => job.status === "running" || job.status === "queued");
  const newest = jobs.value[0];
  const failed = newest?.status === "failed" && newest.id !== dismissed ? newest : null;
  if (compact) {
    const job = open.find((it) => it.status === "running") ?? open[0];
    return job ? (
      <span class="job-compact" data-testid="job">
        {title(job)} <Bar job={job} />
      </span>
    ) : null;
  }
  if (!open.length && !failed && !problem) return null;
  return (
    <section class="jobs" aria-label="Jobs" aria-live="polite">
      {open.map((job) => (
        <div key={job.id} class="job" data-testid="job" data-status={job.status}>
          <strong>{title(job)}</strong>
          <span class="fine">{job.status === "queued" ? "waits" : job.total ? `${job.done} of ${job.total}` : "begins"}</span>
          <Bar job={job} />
          <button type="button" class="small" onClick={() => void cancelJob(job.id).catch((error: unknown) => setProblem(said(error)))}>
            Cancel
          </button>
        </div>
      ))}
      {failed && (
        <div class="job" data-testid="job" data-status="failed">
          <strong>{title(failed)} failed</strong>
          <span class="problem grow">{failed.message}</span>
          <button type="button" class="small" onClick={() => setDismissed(failed.id)}>
            Dismiss
          </button>
        </div>
      )}
      {problem && <p class="problem">{problem}</p>}
    </section>
  );
}

function Bar({ job }: { job: Job }): JSX.Element {
  const known = job.status === "running" && job.total > 0;
  return known ? <progress max={job.total} value={job.done} aria-label={title(job)} /> : <progress aria-label={title(job)} />;
}
