"""Quantised blocks and their values by the `gguf` package, for src/gguf/blocks.rs.

Run: python make_gguf.py > gguf.json. Of each kind: three blocks with plausible scales and all their values (as bits),
and the FNV-1a digest of the values of 64 blocks of random bytes, whose scales are only kept finite.
"""

import json

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

KINDS = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K]
SCALES = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}
MASK = (1 << 64) - 1


def random_bytes(seed: int, count: int) -> np.ndarray:
    """The upper bytes of Knuth's linear congruential generator; the test makes the same."""
    out, state = np.empty(count, dtype=np.uint8), seed
    for at in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        out[at] = state >> 56
    return out


def fnv(data: bytes) -> int:
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = ((digest ^ byte) * 0x100000001B3) & MASK
    return digest


generator = np.random.default_rng(7)
out = {}
for kind in KINDS:
    length, size = GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (3, size), dtype=np.uint8)
    for at in SCALES[kind]:  # plausible scales instead of random bits, which may be NaN
        blocks[:, at:at + 2] = generator.normal(0, 0.1, (3, 1)).astype(np.float16).view(np.uint8)
    values = dequantize(blocks, kind).astype(np.float32).reshape(-1)
    many = random_bytes(kind.value, 64 * size).reshape(64, size)
    for at in SCALES[kind]:  # without the exponent's upper bit no f16 is infinite or NaN
        many[:, at + 1] &= 0xBF
    digest = fnv(dequantize(many, kind).astype("<f4").tobytes())
    bits = values.view(np.uint32).tolist()
    out[kind.name] = {"blocks": blocks.reshape(-1).tolist(), "bits": bits, "digest_of_64": f"{digest:016x}"}
print(json.dumps(out, separators=(",", ":")))
