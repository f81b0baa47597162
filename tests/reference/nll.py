"""Negative log-likelihood of every token under transformers in float32, as JSON.

nll.py MODEL IDS CONTEXT: MODEL is a model directory or a GGUF file; IDS a JSON file with a list of token ids, read in
windows of CONTEXT tokens that share one token. The list printed begins with the score of the second token.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

model, ids, context = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])
place = {"gguf_file": model.name} if model.is_file() else {}
model = AutoModelForCausalLM.from_pretrained(model.parent if place else model, dtype=torch.float32, **place).eval()
scores = []
with torch.no_grad():
    for start in range(0, len(ids) - 1, context):
        window = torch.tensor(ids[start : start + context + 1])
        logits = model(window[None, :-1]).logits[0]
        # In parts: a window's logits are large enough.
        for part, targets in zip(logits.split(256), window[1:].split(256)):
            scores += torch.nn.functional.cross_entropy(part, targets, reduction="none").tolist()
print(json.dumps(scores))
