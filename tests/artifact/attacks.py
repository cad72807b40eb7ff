"""Good packed files that attacks start from, and what a refusal of a bad one has to look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frugalseg.artifact import Member, artifact_bytes, parse_artifact
from frugalseg.errors import InputError

from .builders import artifact, document_of, rebuilt, tiny

GOOD = artifact_bytes(tiny(), "good")
PLAIN = artifact_bytes(artifact(Member({}, {"w": np.arange(6, dtype=np.float32), "v": np.ones(2, np.float16)})), "p")


def refusal(content: bytes) -> str:
    """The reason for which a file is refused: one line that names it."""
    with pytest.raises(InputError) as caught:
        parse_artifact(content, "bad.fseg")
    assert len(caught.value.problems) == 1
    line = str(caught.value)
    assert line.startswith("bad.fseg: ")
    assert line.isprintable()
    assert len(line) < 400
    return line.removeprefix("bad.fseg: ")


def raw_document(text: str) -> bytes:
    return rebuilt(GOOD, document=text)


def weights_of(content: bytes) -> list[dict[str, Any]]:
    return list(document_of(content)["members"][0]["weights"])
