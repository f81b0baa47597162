#!/usr/bin/env python3
"""Lets a model write texts of its own, one JSON object a line: what it knew before it was fine-tuned.

    python3 scripts/sample_stories.py MODEL OUT.jsonl [--program target/release/trib] [--count 150] [--prompt "Once upon a time"]

MODEL is a model directory, or a GGUF or llama2.c file, which is imported into a temporary folder. The texts are drawn at
temperature 1 with the seeds 0, 1, 2, …, so they are the same every time; one that does not end within the tokens allowed
is left out. A model's own texts have the least loss under the model itself, which makes any forgetting visible.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--program", default="target/release/trib")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--most-tokens", type=int, default=500)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = a.model
        if model.is_file():
            model = pathlib.Path(folder, "model")
            run([a.program, "import", a.model, model, "--quiet"])
        stories, seed = [], 0
        while len(stories) < a.count and seed < 10 * a.count:
            options = ["--temperature", "1", "--max-new-tokens", str(a.most_tokens), "--seed", str(seed), "--json", "--quiet"]
            answer = json.loads(run([a.program, "generate", model, "--prompt", a.prompt, *options]))
            if answer["finish"] == "stop":
                stories.append(answer["prompt"] + answer["text"])
            seed += 1
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
    print(f"{a.out}: {len(stories)} texts of {seed} drawn", file=sys.stderr)


if __name__ == "__main__":
    main()
