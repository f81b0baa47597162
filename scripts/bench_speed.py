#!/usr/bin/env python3
"""Evaluates, trains and continues with us and with transformers in turn, on the same model and tokens; prints the ratios.

    VENV/bin/python scripts/bench_speed.py MODEL [--ours target/release/speed] [--rows 4] [--length 512] [--rounds 5]

MODEL is a model directory in float32 (`trib import ... --dtype float32`). Both programs hold it at once and answer one
request at a time, ours first in one round and last in the next, after one of each that does not count. An evaluation is
a forward pass with the likelihood of every token; a training step is forward, backward, clipping and AdamW; a continuation
is 64 greedy tokens after 16, with a cache. Medians over the rounds, lowest and highest beside them. The values must agree:
likelihoods and losses within 1e-3, continuations in every token.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

KINDS = ["evaluate", "decode", "train"]
PROMPT, CONTINUED = 16, 64


class Ours:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"our program ended at `{request}` with {self.process.wait()}")
        return json.loads(answer)


class Theirs:
    def __init__(self, model, tokens):
        import torch
        from transformers import AutoModelForCausalLM

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.tokens = torch.tensor(tokens)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def nll(self, reduction):
        logits = self.model(self.tokens, use_cache=False).logits[:, :-1]
        targets = self.tokens[:, 1:].reshape(-1)
        return self.torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets, reduction=reduction)

    def evaluate(self):
        with self.torch.no_grad():
            return self.tokens.numel(), self.nll("none").double().mean().item()

    def train(self):
        loss = self.nll("mean")
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.tokens.numel(), loss.item()

    def decode(self):
        prompt = self.tokens[:1, :PROMPT]
        made = self.model.generate(
            prompt, attention_mask=self.torch.ones_like(prompt), do_sample=False, max_new_tokens=CONTINUED,
            min_new_tokens=CONTINUED, eos_token_id=None, pad_token_id=0,
        )
        return CONTINUED, made[0, PROMPT:].tolist()

    def ask(self, request):
        start = time.perf_counter()
        tokens, value = getattr(self, request)()
        return {"seconds": time.perf_counter() - start, "tokens": tokens, "value": value}


def agree(kind, ours, theirs):
    return ours == theirs if kind == "decode" else abs(ours - theirs) <= 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--ours", default="target/release/speed")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()

    sizes = ["--rows", str(a.rows), "--length", str(a.length)]
    ours = Ours([a.ours, "--device", "cpu", "--model", a.model, "--on-request", "yes", *sizes])
    tokens = ours.ask("prepare")["value"]
    theirs = Theirs(a.model, [tokens[row * a.length : (row + 1) * a.length] for row in range(a.rows)])
    speeds = {kind: ([], []) for kind in KINDS}
    # Before the first training step, and after it with what each of them has trained.
    for number in range(a.rounds + 1):
        for kind in KINDS:
            sides = [(0, ours), (1, theirs)]
            answers = {side: program.ask(kind) for side, program in (sides if number % 2 else reversed(sides))}
            if not agree(kind, answers[0]["value"], answers[1]["value"]):
                print(f"round {number}, {kind}: {answers[0]['value']} but {answers[1]['value']}", file=sys.stderr)
            if number:
                for side, answer in answers.items():
                    speeds[kind][side].append(answer["tokens"] / answer["seconds"])
    import torch
    import transformers

    print(
        f"{a.model}, {a.rows} rows of {a.length} tokens, float32, {os.cpu_count()} cores, medians of {a.rounds} rounds; "
        f"torch {torch.__version__}, transformers {transformers.__version__}\n"
    )
    print("| tokens/s | ours | transformers | ratio |\n| --- | ---: | ---: | ---: |")
    for kind, sides in speeds.items():
        shown = [f"{statistics.median(side):.1f} ({min(side):.1f} to {max(side):.1f})" for side in sides]
        ratio = statistics.median(sides[0]) / statistics.median(sides[1])
        print(f"| {kind} | {shown[0]} | {shown[1]} | {ratio:.2f} |")


main()
