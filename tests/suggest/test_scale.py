"""The cover of a pool as large as a laboratory's archive, in a process whose memory is measured."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

N_IMAGES, WIDTH, N_CANDIDATES, K = 100_000, 1_280, 2_000, 200
LARGEST_BYTES = 2 << 30

SCRIPT = f"""
import json, resource, time
import numpy as np
from frugalseg.suggest.cover import greedy_cover

rng = np.random.default_rng(0)
descriptors = rng.random(({N_IMAGES}, {WIDTH}), dtype=np.float32)
for begin in range(0, {N_IMAGES}, 1_000):  # a hundred kinds of image, each with features of its own
    place = begin // 1_000
    descriptors[begin : begin + 1_000, 12 * place : 12 * place + 12] += 4
candidates = rng.choice({N_IMAGES}, {N_CANDIDATES}, replace=False).tolist()
began = time.monotonic()
chosen = [index for index, _ in greedy_cover(descriptors, candidates, {K})]
print(json.dumps({{
    "seconds": time.monotonic() - began,
    "bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "among": set(chosen) <= set(candidates),
    "different": len(set(chosen)),
    "kinds": len({{index // 1_000 for index in chosen[:100]}}),
}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory as Linux gives it")
def test_a_hundred_thousand_images_fit_into_two_gibibytes() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{found['seconds']:.1f} s, {found['bytes'] / 2**30:.2f} GiB")
    assert found["among"]
    assert found["different"] == K
    assert found["kinds"] == 100, "each of the first hundred represents another kind"
    assert found["bytes"] <= LARGEST_BYTES
