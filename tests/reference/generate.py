"""Greedy continuations by transformers in float32, as JSON.

generate.py MODEL REQUESTS: MODEL is a model directory; REQUESTS a JSON file with a list of {"prompt", "chat", "tokens"}:
a text, whether it is a user's turn of the chat template, and how many tokens to add. Of each continuation: the new
tokens (a final token that ends the text left out), the text, and the smallest lead in logits that a chosen token had.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
answers = []
for request in json.loads(Path(sys.argv[2]).read_text()):
    text = request["prompt"]
    if request["chat"]:
        turn = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=not request["chat"], return_tensors="pt").input_ids.long()
    with torch.no_grad():
        made = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=request["tokens"],
            return_dict_in_generate=True, output_logits=True,
        )
    ids, before = made.sequences[0].tolist(), prompt[0].tolist()
    leads = [(best[0] - best[1]).item() for best in (step[0].topk(2).values for step in made.logits)]
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    ids = ids[:-1] if ids[-1] in ends else ids
    whole, shown = (tokenizer.decode(part, skip_special_tokens=True) for part in (ids, before))
    answers.append({"prompt": before, "tokens": ids[len(before) :], "text": whole[len(shown) :], "lead": min(leads)})
print(json.dumps(answers))
