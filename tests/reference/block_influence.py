"""Block Influence of every layer, and statistics of the hidden states around it, under transformers in float32, as JSON.

block_influence.py MODEL IDS: MODEL is a model directory; IDS a JSON file with lists of token ids, one window each. Hooks see
what goes into and comes out of each layer, so the last one's output is not normalised. Of the states before the first layer and
after each: the mean norm, the largest magnitude of a component, and the mean cosine of two tokens, all with all.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
layers = model.model.layers
sums, tokens = [0.0] * len(layers), 0
states = [[] for _ in range(len(layers) + 1)]


def watch(number):
    def hook(_, arguments, keywords, output):
        before = arguments[0] if arguments else keywords["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        cosines = torch.nn.functional.cosine_similarity(before.flatten(0, 1), after.flatten(0, 1), dim=-1)
        sums[number] += (1 - cosines.double()).sum().item()
        if number == 0:
            states[0].append(before.flatten(0, 1).double())
        states[number + 1].append(after.flatten(0, 1).double())

    return hook


for number, layer in enumerate(layers):
    layer.register_forward_hook(watch(number), with_kwargs=True)
with torch.no_grad():
    for window in json.loads(Path(sys.argv[2]).read_text()):
        model(torch.tensor([window]))
        tokens += len(window)


def statistics(parts):
    place = torch.cat(parts)
    norms = place.norm(dim=1, keepdim=True)
    directions = place / norms
    return [norms.mean().item(), place.abs().max().item(), (directions @ directions.T).mean().item()]


print(json.dumps({"influence": [total / tokens for total in sums], "states": list(map(statistics, states))}))
