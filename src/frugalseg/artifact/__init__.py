"""The packed model file ``.fseg``: read, checked, written, measured; without torch. ``docs/format.md`` specifies it.

From bottom to top: ``faults`` (what is wrong with a file), ``strict_json``, ``container`` (named tensors, one text and
a digest in one file), ``coding`` (codes as bytes), ``model`` (what a packed model is), ``fields`` and ``document``
(its description, judged), then ``reading``, ``writing`` and ``sizes``.
"""

from __future__ import annotations

from frugalseg.artifact.document import FORMAT
from frugalseg.artifact.faults import FormatError, quoted
from frugalseg.artifact.model import NOT_STATED, Artifact, Member
from frugalseg.artifact.reading import parse_artifact, read_artifact, read_content
from frugalseg.artifact.sizes import ArtifactSizes, TensorSize, measure_artifact, read_sizes
from frugalseg.artifact.writing import artifact_bytes, write_artifact

__all__ = [
    "FORMAT",
    "NOT_STATED",
    "Artifact",
    "ArtifactSizes",
    "FormatError",
    "Member",
    "TensorSize",
    "artifact_bytes",
    "measure_artifact",
    "parse_artifact",
    "quoted",
    "read_artifact",
    "read_content",
    "read_sizes",
    "write_artifact",
]
