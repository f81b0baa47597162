"""ECE, class-wise ECE and Full-ECE by their definitions in float64, as JSON.

calibration.py LOGITS VOCABULARY TARGETS BINS...: LOGITS holds raw float32, [positions, VOCABULARY]; TARGETS is a JSON file
with the token that came at each position. Printed: for each number of bins its three errors. Every bin of every token is
looked at; nothing is left out or derived from other sums.
"""

import json
import sys
from pathlib import Path

import numpy as np

vocabulary = int(sys.argv[2])
logits = np.fromfile(sys.argv[1], dtype=np.float32).reshape(-1, vocabulary).astype(np.float64)
targets = np.array(json.loads(Path(sys.argv[3]).read_text()))
positions = np.arange(len(targets))
logits -= logits.max(axis=1, keepdims=True)
p = np.exp(logits)
del logits
p /= p.sum(axis=1, keepdims=True)
came = np.zeros(p.shape, dtype=bool)
came[positions, targets] = True
top, top_p = p.argmax(axis=1), p.max(axis=1)

found = []
for bins in map(int, sys.argv[4:]):
    bin_of = np.minimum(np.floor(p * bins).astype(int), bins - 1)
    full = class_wise = 0.0
    for number in range(bins):
        within = bin_of == number
        full += abs((came & within).sum() - p[within].sum()) / len(targets)
        gaps = np.abs((came & within).sum(axis=0) - np.where(within, p, 0.0).sum(axis=0))
        class_wise += gaps.sum() / len(targets) / vocabulary
    top_bin = np.minimum(np.floor(top_p * bins).astype(int), bins - 1)
    ece = sum(abs((top == targets)[top_bin == number].sum() - top_p[top_bin == number].sum()) for number in range(bins))
    found.append({"bins": bins, "ece": ece / len(targets), "class_wise_ece": class_wise, "full_ece": full})
print(json.dumps(found))
