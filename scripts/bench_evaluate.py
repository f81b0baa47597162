#!/usr/bin/env python3
"""Evaluates the documents of a file with us, with transformers and with lm-evaluation-harness in turn; prints the ratios.

    trib import SmolLM2.gguf /tmp/smollm2
    VENV/bin/pip install lm-eval
    VENV/bin/python scripts/bench_evaluate.py /tmp/smollm2 documents.jsonl --ours target/release/trib --rounds 3

MODEL is a model directory, the file has one `{"text": …}` a line; documents longer than --context tokens are left out, since
windows differ from program to program. Everybody is a process of its own from start to end, loading the model too; what that takes is
measured with one document and subtracted, and printed. transformers gets batches of documents of like length, padded, of at most
--batch tokens; lm-evaluation-harness its own batching (`loglikelihood_rolling`, --batch tokens over the longest document). `ours, all
metrics` measures accuracy, ECE, class-wise ECE and Full-ECE too: what that costs is the overhead printed last. Likelihoods must
agree within 1e-3 nats a token (the harness also scores each first token, after an end token: it is not compared).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def texts(path):
    return [json.loads(line)["text"] for line in open(path) if line.strip()]


def with_transformers(model, path, batch):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    rows = sorted((tokenizer(text)["input_ids"] for text in texts(path)), key=len, reverse=True)
    total, tokens = 0.0, 0
    with torch.inference_mode():
        at = 0
        while at < len(rows):
            longest = len(rows[at])
            some = rows[at : at + max(1, batch // longest)]
            at += len(some)
            ids = torch.zeros(len(some), longest, dtype=torch.long)
            mask = torch.zeros(len(some), longest, dtype=torch.long)
            for row, (place, here) in zip(some, zip(ids, mask)):
                place[: len(row)] = torch.tensor(row)
                here[: len(row)] = 1
            logits = network(ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            total += (nll * mask[:, 1:]).double().sum().item()
            tokens += int(mask[:, 1:].sum())
    return total, tokens


def with_harness(model, path, batch):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    documents = texts(path)
    harness = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=1)
    longest = max(len(harness.tok_encode(text)) for text in documents)
    harness.batch_size_per_gpu = max(1, batch // longest)
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in documents]
    scores = harness.loglikelihood_rolling(requests, disable_tqdm=True)
    return -sum(scores), sum(len(harness.tok_encode(text)) for text in documents)


def answer(command):
    """Runs a program; its wall time and the last line it says, as JSON."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return time.perf_counter() - start, json.loads(done.stdout.strip().splitlines()[-1])


def ours(arguments, path, metrics):
    command = [arguments.ours, "evaluate", arguments.model, "--data", path, "--context", str(arguments.context), "--json"]
    seconds, said = answer([*command, "--metrics", metrics])
    scores = said["results"][0]["nll"]
    return seconds, scores["nll"] * scores["tokens"], scores["tokens"]


def theirs(kind):
    def run(arguments, path):
        command = [sys.executable, __file__, arguments.model, path, "--as", kind, "--batch", str(arguments.batch)]
        seconds, said = answer(command)
        return seconds, said["nll"], said["tokens"]

    return run


CONTESTANTS = {
    "trib": lambda arguments, path: ours(arguments, path, "nll"),
    "trib, all metrics": lambda arguments, path: ours(arguments, path, "nll,accuracy,calibration"),
    "transformers": theirs("transformers"),
    "lm-evaluation-harness": theirs("harness"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--ours", default="target/release/trib")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--as", dest="kind", choices=["transformers", "harness"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if arguments.kind:
        run = {"transformers": with_transformers, "harness": with_harness}[arguments.kind]
        nll, tokens = run(arguments.model, arguments.data, arguments.batch)
        print(json.dumps({"nll": nll, "tokens": tokens}))
        return
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    fitting = [text for text in texts(arguments.data) if 2 <= len(tokenizer(text)["input_ids"]) <= arguments.context]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        places = {"all": folder / "all.jsonl", "one": folder / "one.jsonl"}
        for name, chosen in [("all", fitting), ("one", fitting[:1])]:
            places[name].write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen))
        names = list(CONTESTANTS)
        try:
            import lm_eval  # noqa: F401
        except ImportError:
            print("lm-evaluation-harness is not installed: left out", file=sys.stderr)
            names.remove("lm-evaluation-harness")
        starts = {name: statistics.median(CONTESTANTS[name](arguments, str(places["one"]))[0] for _ in range(2)) for name in names}
        rounds = []
        for number in range(arguments.rounds):
            order = names if number % 2 == 0 else names[::-1]
            rounds.append({name: CONTESTANTS[name](arguments, str(places["all"])) for name in order})
    first = rounds[0]
    tokens = first["trib"][2]
    for name in ["trib, all metrics", "transformers"]:
        difference = abs(first[name][1] / first[name][2] - first["trib"][1] / tokens)
        if first[name][2] != tokens or difference > 1e-3:
            sys.exit(f"{name} scored {first[name][2]} tokens, we {tokens}; likelihoods differ by {difference}")
    print(f"{len(fitting)} documents, {tokens} tokens, medians of {arguments.rounds} interleaved rounds\n")
    print("| | s | start, s | tokens/s | |\n| --- | ---: | ---: | ---: | ---: |")
    net = {name: [seconds[name][0] - starts[name] for seconds in rounds] for name in names}
    for name in names:
        seconds = statistics.median(net[name])
        ratio = statistics.median(theirs / ours for theirs, ours in zip(net[name], net["trib"]))
        print(f"| {name} | {seconds:.1f} | {starts[name]:.1f} | {tokens / seconds:.0f} | {ratio:.2f} |")
    overhead = statistics.median(all / ours - 1 for all, ours in zip(net["trib, all metrics"], net["trib"]))
    print(f"\noverhead of accuracy, ECE, class-wise ECE and Full-ECE: {100 * overhead:.1f} %")


if __name__ == "__main__":
    main()
