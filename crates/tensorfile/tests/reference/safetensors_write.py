"""Writes tensors of many types with the safetensors package and prints their shapes and bytes."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

generator = torch.Generator().manual_seed(7)
wide = torch.randn(4, 6, generator=generator)
tensors = {
    "f64": wide.double(), "f32": wide, "f16": wide.half(), "bf16": wide.bfloat16(),
    "f8_e4m3": wide.to(torch.float8_e4m3fn), "f8_e5m2": wide.to(torch.float8_e5m2),
    "i64": torch.arange(-3, 4), "i8": torch.arange(-3, 4, dtype=torch.int8), "u8": torch.arange(7, dtype=torch.uint8),
    "bool": wide > 0, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "\u00fcber \"quoted\"": wide[0].clone(),
}
save_file(tensors, Path(sys.argv[1]) / "model.safetensors", metadata={"format": "pt", "note": "caf\u00e9"})
raw = lambda tensor: tensor.reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []
print(json.dumps({name: {"shape": list(tensor.shape), "bytes": raw(tensor)} for name, tensor in tensors.items()}))
