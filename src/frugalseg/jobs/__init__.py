"""Long work of a project in processes of its own: who starts it, who waits for whom, how far it is.

The queue itself is rows of the project's database (:class:`frugalseg.project.JobQueue`). ``supervisor`` starts a
process for each queued job of the page, ``turn`` lets a process wait for its job's turn and says how the job ended,
``progress`` reads what a training has written, ``settings`` is what jobs of the page can be told. Imports no torch.
"""

from __future__ import annotations

from frugalseg.jobs.progress import TRUNK_MEMBER, progress_rows
from frugalseg.jobs.settings import PredictJob, SuggestJob, TrainJob
from frugalseg.jobs.supervisor import Supervisor, log_file
from frugalseg.jobs.turn import JobCancelledError, Work, at_work, wait_for_turn

__all__ = [
    "TRUNK_MEMBER",
    "JobCancelledError",
    "PredictJob",
    "SuggestJob",
    "Supervisor",
    "TrainJob",
    "Work",
    "at_work",
    "log_file",
    "progress_rows",
    "wait_for_turn",
]
