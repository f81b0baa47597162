#!/usr/bin/env python3
"""Prints what steps of a run showed, tables and curves, as Markdown.

    python scripts/figures_markdown.py ckpt/search-smollm2 pair four

The first argument is a store, the others are steps of its latest run. Needs nothing but Python's standard library.
"""

import json
import pathlib
import sys


def table(columns, rows):
    cell = lambda text: str(text).replace("|", "\\|")
    line = lambda cells: "| " + " | ".join(map(cell, cells)) + " |"
    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)])


def number(value):
    return "" if value is None else f"{value:.5g}"


def shown(figure):
    kind = figure["figure"]
    if kind == "notes":
        return "\n".join(note["text"] for note in figure["notes"])
    if kind == "scores":
        rows = [
            (score["model"], score["dataset"], score["metric"], f"{score['value']:.5f}", "" if score["stderr"] is None else f"{score['stderr']:.5f}")
            for score in figure["scores"]
        ]
        return table(["model", "on", "metric", "value", "standard error"], rows)
    head = f"**{figure['title']}**\n\n"
    if kind == "table":
        return head + table(figure["columns"], figure["rows"])
    if kind == "series":
        places = sorted({x for line in figure["lines"] for x in line["x"]})
        if len(places) > 40:
            return head + "(a curve; see the report)"
        lines = [dict(zip(line["x"], line["y"])) for line in figure["lines"]]
        rows = [[f"{x:.5g}", *(number(line.get(x)) for line in lines)] for x in places]
        return head + f"{figure['y_label']}, by {figure['x_label']}:\n\n" + table(["", *(line["name"] for line in figure["lines"])], rows)
    return head + f"({kind})"


def main():
    store = pathlib.Path(sys.argv[1])
    for step in sys.argv[2:]:
        records = sorted(store.glob(f"runs/*/steps/{step}.json"), key=lambda path: path.stat().st_mtime)
        place = json.loads(records[-1].read_text()).get("artifact") if records else None
        if not place:
            sys.exit(f"{step}: no run of {store} made it")
        found = store / place
        print(f"### {step}\n")
        for figure in json.loads((found / "figures.json").read_text()):
            print(shown(figure) + "\n")


if __name__ == "__main__":
    main()
