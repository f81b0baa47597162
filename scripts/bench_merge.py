#!/usr/bin/env python3
"""Merges the same files with us and with mergekit in turn, and prints the table.

    python scripts/make_merge_models.py /tmp/bench-models
    python scripts/bench_merge.py /tmp/bench-models --mergekit VENV/bin/mergekit-yaml

The folder holds `base` and `tuned-1..n`. Each round runs, for every method, us and mergekit, the other way round in
every second round; medians are printed, as Markdown (`--markdown FILE` writes it there too, `--json FILE` every
measurement). Outputs go beside the models and are deleted. `wall`, `cpu` (user + system) and `peak` come from wait4 of
the process; `anonymous` is the largest RssAnon seen in /proc (mergekit maps its inputs, and mapped file pages count in
`peak`). We sync the output to the device before we end; mergekit does not, so the time a sync of its output takes is
printed too, and is not part of its `wall`. What each takes to start, merging nothing (`--help`), is part of it, and
printed. The floor is reading a method's inputs once from the page cache, plus writing and syncing one output.

mergekit gets the options it is fastest with in little memory, and each program the method as its own documents write it:
ties and dare_ties with a density of 0.5, where ours follow the papers. `as mergekit` are our words for what mergekit does
(weights in the election, rescaling to the same sum of magnitudes) where that is other work. mergekit has no metagpt: that
row gives it `linear` with the coefficients we found, the same merge without finding them.
Needs nothing but Python's standard library.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import sys

import measure

WEIGHTED = [0.3, 0.4, 0.5, 0.6]

# For each method: has it a base, how many models it merges (0: all), its parameters, and ours to work as mergekit does.
METHODS = {
    "linear": (False, 0, {"weight": WEIGHTED}, None),
    "task_arithmetic": (True, 0, {"weight": WEIGHTED}, None),
    "metagpt": (True, 0, {}, None),
    "ties": (True, 0, {"weight": WEIGHTED, "density": 0.5}, {"vote": "weighted"}),
    "dare_ties": (True, 0, {"weight": WEIGHTED, "density": 0.5}, {"vote": "weighted", "rescale": "l1"}),
    "slerp": (True, 2, {"t": 0.5}, None),
    "model_stock": (True, 0, {}, None),
}
OURS, ALIKE, THEIRS = "ours", "ours, as mergekit", "mergekit"


def used(method, models):
    """The models that a method reads; the base, where there is one, comes first."""
    count = METHODS[method][1]
    return models[:count] if count else models


def document(method, models, parameters):
    """A merge file in mergekit's words; task vectors are taken from the first model, which slerp names among the merged too."""
    has_base, count, _, _ = METHODS[method]
    lines = [f"merge_method: {method}", "dtype: bfloat16"]
    if has_base:
        lines.append(f"base_model: {models[0]}")
    merged = models if count or not has_base else models[1:]
    lines.append("models:")
    for index, model in enumerate(merged):
        lines.append(f"  - model: {model}")
        own = {name: value[index % len(value)] for name, value in parameters.items() if isinstance(value, list)}
        if own:
            lines.append(f"    parameters: {json.dumps(own)}")
    common = {name: value for name, value in parameters.items() if not isinstance(value, list)}
    if common:
        lines.append(f"parameters: {json.dumps(common)}")
    return "\n".join(lines) + "\n"


class Bench:
    """The two programs, the models, and what was measured."""

    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        folder = arguments.models.resolve()
        self.models = [str(folder / "base"), *sorted(str(path) for path in folder.glob("tuned-*") if path.is_dir())]
        self.runs, self.coefficients, self.starts = {}, None, {}

    def merge(self, method, program):
        """One merge, measured."""
        _, _, parameters, alike = METHODS[method]
        config, out = self.work / "merge.yml", self.work / "out"
        models = used(method, self.models)
        if program == THEIRS and method == "metagpt":
            # What metagpt is once its coefficients are known.
            config.write_text(document("linear", models[1:], {"weight": self.coefficients}))
        else:
            config.write_text(document(method, models, {**parameters, **(alike if program == ALIKE else {})}))
        command = [*shlex.split(self.arguments.ours), str(config), str(out)]
        if program == THEIRS:
            command = [self.arguments.mergekit, str(config), str(out), *shlex.split(self.arguments.mergekit_flags)]
        measured = measure.run(command, self.work / "log")
        if program == THEIRS:
            measured["sync"] = measure.sync(out)
        elif method == "metagpt":
            self.coefficients = [model["coefficient"] for model in json.loads((out / "merge.json").read_text())["models"]]
        shutil.rmtree(out)
        self.runs.setdefault(method, {}).setdefault(program, []).append(measured)
        print(f"  {method}, {program}: {measured['wall']:.2f} s", file=sys.stderr)

    def round(self, number):
        for program, command in [(OURS, self.arguments.ours), (THEIRS, self.arguments.mergekit)]:
            started = measure.run([*shlex.split(command), "--help"], self.work / "log")
            self.starts.setdefault(program, []).append(started["wall"])
        for method in self.arguments.methods:
            programs = [OURS, *([ALIKE] if METHODS[method][3] else []), THEIRS]
            is_turned = number % 2 == 1
            for program in reversed(programs) if is_turned else programs:
                self.merge(method, program)


def row(method, runs, program, floor):
    """A line of the table: the ratios are mergekit's measurements over those of the line."""
    m, theirs = measure.medians(runs[program]), measure.medians(runs[THEIRS])
    cells = [
        method, program, measure.spread([run["wall"] for run in runs[program]]), f"{m['cpu']:.1f}", f"{m['peak'] / 1e9:.3f}",
        f"{m['anonymous'] / 1e9:.3f}", f"{m['sync']:.2f}" if "sync" in m else "included", f"{m['wall'] / floor:.1f}",
    ]  # fmt: skip
    return cells + ([f"{theirs[key] / m[key]:.1f}" for key in ("wall", "cpu", "peak", "anonymous")] if program != THEIRS else [""] * 4)


def report(bench, floors, loads):
    reading, writing = (statistics.median(column) for column in zip(*floors))
    size = measure.tensor_bytes(bench.models[0])
    head = ["method", "program", "wall, s", "cpu, s", "peak, GB", "anonymous, GB", "its sync, s", "wall / floor"]
    head += ["wall, times", "cpu, times", "peak, times", "anonymous, times"]
    rows = []
    for method, runs in bench.runs.items():
        floor = reading * len(used(method, bench.models)) / len(bench.models) + writing
        rows += [row(method, runs, program, floor) for program in runs]
    a = bench.arguments
    return "\n".join([
        f"{len(bench.models)} models of {size / 1e9:.2f} GB (slerp: 2 of them), {a.rounds} rounds, medians (lowest to highest); "
        f"{os.cpu_count()} cores, load average {loads[0]:.1f} at the start, {max(loads):.1f} at most; mergekit {a.mergekit_flags}.",
        f"Floor: reading all inputs once {reading:.2f} s, writing and syncing one output {writing:.2f} s. "
        f"Starting takes us {statistics.median(bench.starts[OURS]):.2f} s and mergekit {statistics.median(bench.starts[THEIRS]):.2f} s. "
        "`times` is how many times ours mergekit takes.",
        "",
        measure.table(head, rows, left=2),
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--mergekit", required=True, help="path of mergekit-yaml")
    parser.add_argument("--mergekit-flags", default="--lazy-unpickle -j 2 --async-write")
    parser.add_argument("--ours", default="target/release/trib merge", help="command that takes CONFIG and OUT")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of them, with commas between (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="also write every measurement here")
    parser.add_argument("--markdown", type=pathlib.Path, help="also write the table here")
    a = parser.parse_args()
    a.methods = a.methods.split(",")
    unknown = [method for method in a.methods if method not in METHODS]
    if unknown:
        parser.error(f"no such method here: {', '.join(unknown)}; there are {', '.join(METHODS)}")

    loads = [measure.warn_if_loaded()]
    work = a.models.resolve() / "bench-work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    bench, floors = Bench(a, work), []
    files = [file for model in bench.models for file in measure.tensor_files(model)]
    measure.read_all(files)
    for number in range(a.rounds):
        print(f"round {number + 1} of {a.rounds}", file=sys.stderr)
        floors.append((measure.read_all(files), measure.write_and_sync(work / "floor", measure.tensor_bytes(bench.models[0]))))
        bench.round(number)
        loads.append(os.getloadavg()[0])
    shutil.rmtree(work)
    text = report(bench, floors, loads)
    print(text)
    if a.json:
        about = {"mergekit_flags": a.mergekit_flags, "models": len(bench.models), "model_bytes": measure.tensor_bytes(bench.models[0])}
        record = {**about, "load": loads, "floors": floors, "starts": bench.starts, "runs": bench.runs}
        a.json.write_text(json.dumps(record, indent=1) + "\n")
    if a.markdown:
        a.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
