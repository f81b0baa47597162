"""Loads every tensor of a model directory with the safetensors package and prints shapes and bytes."""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

folder = Path(sys.argv[1])
files = sorted(folder.glob("*.safetensors"))
tensors = {}
for file in files:
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["format"] == "pt"
        for name in opened.keys():
            tensor = opened.get_tensor(name).contiguous()
            raw = tensor.reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []
            tensors[name] = {"shape": list(tensor.shape), "bytes": raw}
index = folder / "model.safetensors.index.json"
if len(files) > 1:
    weight_map = json.loads(index.read_text())["weight_map"]
    assert weight_map.keys() == tensors.keys()
else:
    assert not index.exists()
print(json.dumps(tensors))
