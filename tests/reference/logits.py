"""Loads models as transformers does and writes their logits, as float32, for texts.

logits.py REQUEST: a JSON file {"texts": [...], "models": [{"directory", "logits"}]}. Every model gets a file `logits`
with the logits of all texts one after the other, each [tokens, vocabulary], little-endian. Printed of each: the token
ids of the texts, the type its weights are stored as, and whatever transformers missed or did not expect when loading.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

request = json.loads(Path(sys.argv[1]).read_text())
answers = []
for place in request["models"]:
    directory = place["directory"]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    stored = AutoModelForCausalLM.from_pretrained(directory, dtype="auto").dtype
    model, loading = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    texts = [tokenizer(text)["input_ids"] for text in request["texts"]]
    with torch.no_grad(), open(place["logits"], "wb") as file:
        for ids in texts:
            file.write(model.eval()(torch.tensor([ids])).logits[0].contiguous().numpy().astype("<f4").tobytes())
    troubles = {key: sorted(map(str, value)) for key, value in loading.items() if value}
    answers.append({"ids": texts, "dtype": str(stored).removeprefix("torch."), "troubles": troubles})
print(json.dumps(answers))
