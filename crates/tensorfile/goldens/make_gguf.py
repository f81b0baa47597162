"""Quantised blocks and their values by the `gguf` package, for src/gguf/blocks.rs. Run: python make_gguf.py > gguf.json"""

import json

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

KINDS = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K]
SCALES = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}

generator = np.random.default_rng(7)
out = {}
for kind in KINDS:
    length, size = GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (3, size), dtype=np.uint8)
    for at in SCALES[kind]:  # plausible scales instead of random bits, which may be NaN
        blocks[:, at:at + 2] = generator.normal(0, 0.1, (3, 1)).astype(np.float16).view(np.uint8)
    values = dequantize(blocks, kind).astype(np.float32).reshape(-1)
    out[kind.name] = {"blocks": blocks.reshape(-1).tolist(), "bits": values.view(np.uint32).tolist()}
print(json.dumps(out, separators=(",", ":")))
