#!/usr/bin/env python3
"""Cost of a merge against the size and the number of the models: is time linear in bytes, and is memory flat?

    VENV/bin/python scripts/bench_merge_size.py /tmp/bench-sizes [--program target/release/trib] [--rounds 3]

For 0.13, 1.1 and 3.3 billion parameters (bfloat16) and 2, 4 and 8 models, linear, task_arithmetic and ties are run; the
models are made in the folder on the way and deleted after. Only two of each size are distinct, a base and one fine-tune: the
others are links to the fine-tune, so 13 GB of disk are enough, with the output 20. What is linked is read again, from the
page cache as long as two models fit there, and the merge has no knowledge of the links. `seconds a GB` are those of the
wall clock over the bytes that the merge says it read and wrote.

Prints a Markdown table and a verdict (exit code 1 if it is bad), and draws docs/figures/merge_cost.svg (`--figure`).

Flat means: the dearest byte of a method costs at most `--flat` times the cheapest, over sizes of 1 GB a model and up (below,
what every merge costs once counts), and no merge of any size or number takes more than `--memory` MB, its 256 MiB of
blocks and the program.

A byte written costs more than one read, which comes from the page cache, and the disk itself is slower with many of them, so
seconds a byte also say how much of a merge is writing. Writing and syncing the output alone is therefore measured before each
round, and a line is fitted to the same merges:

    seconds = price of a GB of input × GB of all inputs + share × seconds of writing the output alone

How far apart merges are above and below it is held to the same limit. What a method reads twice counts there as time and not as
bytes. Needs numpy, torch and safetensors, to make the models.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import measure

# Billions of parameters, and the shape that has them.
SIZES = {
    "0.13": "--layers 12 --hidden 768 --intermediate 2048 --heads 12 --kv-heads 4",
    "1.1": "--layers 22 --hidden 2048 --intermediate 5632 --heads 32 --kv-heads 4",
    "3.3": "--layers 29 --hidden 3200 --intermediate 8640 --heads 32 --kv-heads 4",
}
COUNTS = [2, 4, 8]
# Is the first model the base?
METHODS = {"linear": False, "task_arithmetic": True, "ties": True}
# Smaller models take no part in the verdict on seconds a byte.
COUNTED_BYTES = 1e9


def make_models(folder, size, most):
    """A base, a fine-tune, and links to it: `most` models."""
    maker = pathlib.Path(__file__).with_name("make_merge_models.py")
    command = [sys.executable, maker, folder, "--fine-tunes", "1", *SIZES[size].split()]
    subprocess.run(command, check=True, stdout=sys.stderr)
    models = [folder / "base", folder / "tuned-1"]
    for number in range(2, most):
        model = folder / f"tuned-{number}"
        shutil.copytree(models[1], model, copy_function=os.link)
        models.append(model)
    return models


def document(method, models):
    lines = [f"merge_method: {method}", "models:"]
    if METHODS[method]:
        lines.insert(1, f"base_model: {models[0]}")
        models = models[1:]
    lines += [f"  - {{model: {model}, name: {model.name}, parameters: {{weight: {0.3 + 0.05 * index}}}}}"
              for index, model in enumerate(models)]  # fmt: skip
    if method == "ties":
        lines.append("parameters: {density: 0.5}")
    return "\n".join(lines) + "\n"


def merge(program, method, models, work):
    """One merge, measured; `bytes` are read and written ones, as the merge counts them."""
    config, out, log = work / "merge.yml", work / "out", work / "log"
    config.write_text(document(method, models))
    measured = measure.run([program, "merge", str(config), str(out), "--json", "--quiet"], log)
    execution = json.loads(log.read_text())["execution"]
    shutil.rmtree(out)
    return {**measured, "read": execution["bytes_read"], "written": execution["bytes_written"]}


def measure_size(a, size, folder, cells):
    models = make_models(folder, size, max(a.counts))
    measure.read_all([file for model in models[:2] for file in measure.tensor_files(model)])
    model_bytes = measure.tensor_bytes(models[0])
    runs = {(method, size, count): [] for count in a.counts for method in a.methods}
    floors = []
    for number in range(a.rounds):
        floors.append(measure.write_and_sync(folder / "floor", model_bytes))
        print(f"{size} billion, writing alone, round {number + 1}: {floors[-1]:.2f} s", file=sys.stderr)
        for (method, _, count), own in runs.items():
            own.append(merge(a.program, method, models[:count], folder))
            print(f"{size} billion × {count}, {method}, round {number + 1}: {own[-1]['wall']:.2f} s", file=sys.stderr)
    for key, own in runs.items():
        about = {"model_bytes": model_bytes, "writing": statistics.median(floors), "walls": [run["wall"] for run in own]}
        cells[key] = {**measure.medians(own), **about}


def measure_all(a):
    """The medians, by method, size and number of models."""
    cells = {}
    for size in a.sizes:
        folder = a.folder / f"models-{size}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            measure_size(a, size, folder, cells)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return cells


def per_gigabyte(cell):
    return cell["wall"] / (cell["read"] + cell["written"]) * 1e9


def fit(method_cells):
    """The price of a GB of input in seconds, the share of writing alone (least squares of relative errors), and each merge's
    seconds over those of the line."""
    rows = [(count * cell["model_bytes"] / 1e9, cell["writing"], cell["wall"]) for count, cell in method_cells]
    xs, ys = [given / wall for given, _, wall in rows], [writing / wall for _, writing, wall in rows]
    xx, xy, yy = (sum(a * b for a, b in zip(*pair)) for pair in [(xs, xs), (xs, ys), (ys, ys)])
    determinant = xx * yy - xy * xy
    price = (yy * sum(xs) - xy * sum(ys)) / determinant
    share = (xx * sum(ys) - xy * sum(xs)) / determinant
    return price, share, [wall / (price * given + share * writing) for given, writing, wall in rows]


def verdict(a, cells):
    """Sentences, and whether all of them are good."""
    lines, is_good = [], True
    for method in a.methods:
        own = [(count, cell) for (name, _, count), cell in cells.items() if name == method]
        counted = [(count, cell) for count, cell in own if cell["model_bytes"] >= COUNTED_BYTES]
        if len(counted) > 1:
            costs = [per_gigabyte(cell) for _, cell in counted]
            cost = max(costs) / min(costs)
            is_good &= cost <= a.flat
            word = "flat" if cost <= a.flat else "NOT FLAT"
            lines.append(f"`{method}`: the dearest byte costs {cost:.2f} times the cheapest ({word}, limit {a.flat:g}).")
        else:
            lines.append(f"`{method}`: no two merges large enough to compare seconds a byte.")
        if len(counted) > 2:
            price, share, ratios = fit(counted)
            furthest = max(ratios) / min(ratios)
            is_good &= furthest <= a.flat
            word = "on a line" if furthest <= a.flat else "NOT ON A LINE"
            lines.append(
                f"{price:.3f} s a GB of input and {share:.2f} times writing alone: merges take {min(ratios):.2f} to "
                f"{max(ratios):.2f} times that, {furthest:.2f} apart ({word}, limit {a.flat:g})."
            )
        peaks = [cell["peak"] for _, cell in own]
        is_within = max(peaks) <= a.memory * 1e6
        is_good &= is_within
        word = "within" if is_within else "ABOVE"
        lines.append(f"Peaks of memory {min(peaks) / 1e6:.0f} to {max(peaks) / 1e6:.0f} MB, {word} the {a.memory:g} allowed.")
    return lines, is_good


def report(a, cells, load):
    head = ["method", "parameters", "models", "wall, s", "read, GB", "written, GB", "seconds a GB", "writing alone, s", "peak, MB"]
    head += ["anonymous, MB"]
    rows = [
        [method, f"{size} billion", count, measure.spread(cell["walls"]), f"{cell['read'] / 1e9:.2f}", f"{cell['written'] / 1e9:.2f}",
         f"{per_gigabyte(cell):.3f}", f"{cell['writing']:.2f}", f"{cell['peak'] / 1e6:.0f}", f"{cell['anonymous'] / 1e6:.0f}"]
        for (method, size, count), cell in sorted(cells.items(), key=lambda item: a.methods.index(item[0][0]))
    ]  # fmt: skip
    about = (
        f"{a.rounds} rounds, in turn, medians (lowest to highest); {os.cpu_count()} cores, load average {load:.1f} at the start. "
        "Two models of each size are distinct, the others are links to the second."
    )
    return "\n\n".join([about, measure.table(head, rows), " ".join(verdict(a, cells)[0])])


# The figure: two panels over the bytes that a merge moved, one mark a merge, in colours that can be read on white and on black.
# The marks of linear are larger, since those of task_arithmetic fall on them.
RADII = {"linear": 5, "task_arithmetic": 3, "ties": 3.5}
COLOURS = {"linear": "#2f81c7", "task_arithmetic": "#c2701c", "ties": "#8a63d2"}
WIDTH, HEIGHT, LEFT, TOP, PANEL, TALL = 760, 300, 58, 34, 300, 210


def panel(left, title, points, top, unit):
    """A panel whose left edge is at `left`; `points` are (method, gigabytes moved, value), `top` the highest value shown."""
    most = round_up(max(moved for _, moved, _ in points))
    x = lambda moved: left + PANEL * moved / most  # noqa: E731
    y = lambda value: TOP + TALL * (1 - value / top)  # noqa: E731
    out = [f'<text x="{left}" y="{TOP - 14}" class="title">{title}</text>']
    for step in range(5):
        value = top * step / 4
        out.append(f'<line x1="{left}" x2="{left + PANEL}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>')
        out.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        moved = most * step / 4
        out.append(f'<text x="{x(moved):.1f}" y="{TOP + TALL + 17}" text-anchor="middle">{moved:.3g}</text>')
    out.append(f'<text x="{left + PANEL / 2}" y="{TOP + TALL + 36}" text-anchor="middle">GB read and written</text>')
    for method, colour in COLOURS.items():
        own = sorted((moved, value) for name, moved, value in points if name == method)
        line = " ".join(f"{x(moved):.1f},{y(value):.1f}" for moved, value in own)
        if own:
            out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-opacity="0.5"/>')
        out += [f'<circle cx="{x(moved):.1f}" cy="{y(value):.1f}" r="{RADII[method]}" fill="{colour}"><title>{method}: {moved:.1f} GB, '
                f"{value:.3g} {unit}</title></circle>" for moved, value in own]  # fmt: skip
    return out


def round_up(value):
    """The next number whose quarters are short."""
    power = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 1e-3
    while True:
        for factor in (1, 1.2, 1.6, 2, 3, 4, 6, 8):
            if factor * power >= value:
                return factor * power
        power *= 10


def figure(a, cells):
    moved = lambda cell: (cell["read"] + cell["written"]) / 1e9  # noqa: E731
    seconds = [(method, moved(cell), cell["wall"]) for (method, _, _), cell in cells.items()]
    memory = [(method, moved(cell), cell["peak"] / 1e6) for (method, _, _), cell in cells.items()]
    second = LEFT + PANEL + 72
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        "<title>Seconds and memory of a merge against the bytes it moves</title>",
        "<style>text{font:12px system-ui,sans-serif;fill:#57606a}.title{font-weight:600}.grid{stroke:#8c959f;stroke-opacity:.35}"
        "@media (prefers-color-scheme:dark){text{fill:#b1bac4}}</style>",
        *panel(LEFT, "seconds", seconds, round_up(max(value for _, _, value in seconds)), "s"),
        *panel(second, "peak of memory, MB", memory, round_up(max(value for _, _, value in memory)), "MB"),
    ]
    at = LEFT
    for method in a.methods:
        out.append(f'<circle cx="{at + 4}" cy="{HEIGHT - 8}" r="{RADII[method]}" fill="{COLOURS[method]}"/>')
        out.append(f'<text x="{at + 14}" y="{HEIGHT - 4}">{method}</text>')
        at += 30 + 8 * len(method)
    a.figure.parent.mkdir(parents=True, exist_ok=True)
    a.figure.write_text("\n".join([*out, "</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where the models are made, and deleted")
    parser.add_argument("--program", default="target/release/trib")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flat", type=float, default=1.5)
    parser.add_argument("--memory", type=float, default=330)
    parser.add_argument("--figure", type=pathlib.Path, default=pathlib.Path("docs/figures/merge_cost.svg"))
    parser.add_argument("--markdown", type=pathlib.Path, help="also write the table here")
    parser.add_argument("--json", type=pathlib.Path, help="also write every median here")
    a = parser.parse_args()
    a.sizes, a.methods, a.counts = a.sizes.split(","), a.methods.split(","), [int(count) for count in a.counts.split(",")]
    for name, given, known in [("sizes", a.sizes, SIZES), ("methods", a.methods, METHODS)]:
        if unknown := [item for item in given if item not in known]:
            parser.error(f"--{name}: {', '.join(unknown)}; there are {', '.join(known)}")
    a.folder = a.folder.resolve()
    load = measure.warn_if_loaded()
    cells = measure_all(a)
    text = report(a, cells, load)
    print(text)
    figure(a, cells)
    if a.markdown:
        a.markdown.write_text(text + "\n")
    if a.json:
        record = [{"method": method, "size": size, "models": count, **cell} for (method, size, count), cell in cells.items()]
        a.json.write_text(json.dumps(record, indent=1) + "\n")
    if not verdict(a, cells)[1]:
        sys.exit(1)


if __name__ == "__main__":
    main()
