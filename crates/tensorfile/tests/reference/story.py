"""Lets transformers continue from nothing with our import of stories260K; prints its text and the published one."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
published = Path(sys.argv[2]).read_text().split("-t 0.0\n")[1].split("\n```")[0]
start = tokenizer("", return_tensors="pt").input_ids.long()
assert start.tolist() == [[1]], start
with torch.no_grad():
    ids = model.generate(start, max_new_tokens=256, do_sample=False, attention_mask=torch.ones_like(start))
print(json.dumps({"told": tokenizer.decode(ids[0], skip_special_tokens=True), "published": published}))
