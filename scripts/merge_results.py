#!/usr/bin/env python3
"""Makes docs/merging-results.md of the runs of pipelines/merge-methods*.yaml.

    python3 scripts/merge_results.py ckpt/merge-methods [ckpt/merge-methods-smollm2] > docs/merging-results.md

Each argument is a store on this disk; its latest run is read: settings from the run's record, likelihoods of every document
from the evaluations. Standard errors are those of `trib evaluate` (a ratio over documents), and differences are paired by
document, so what makes a document hard for all models is not in their errors. The text under the tables is computed too.
Needs only Python's standard library.
"""

import json
import math
import pathlib
import sys

MODELS = {
    "merge-methods": (
        "stories260K",
        "A Llama of 260,032 parameters that tells children's stories, and three fine-tunes of it, each on one kind of text. "
        "`stories` are texts that the base wrote itself: what a model loses there, it has forgotten.",
        "stories",
    ),
    "merge-methods-smollm2": (
        "SmolLM2-135M-Instruct",
        "A real model of 135 million parameters and three short fine-tunes of it. `articles` are paragraphs of Wikipedia, which "
        "none was trained on.",
        "articles",
    ),
}
CERTAIN = 2.0


def ratio(pairs):
    """Sum of values over sum of tokens, and its standard error over documents."""
    tokens = sum(count for count, _ in pairs)
    mean = sum(value for _, value in pairs) / tokens
    squares = sum((value - mean * count) ** 2 for count, value in pairs)
    return mean, math.sqrt(len(pairs) / (len(pairs) - 1) * squares) / tokens


class Run:
    """A finished run: what each evaluated model is and how likely it finds each document."""

    def __init__(self, store):
        folders = [path for path in sorted((store / "runs").glob("2*")) if (path / "finished.json").exists()]
        if not folders:
            sys.exit(f"{store}: no finished run there")
        record = json.loads((folders[-1] / "run.json").read_text())
        self.pipeline = record["pipeline"]
        self.steps = {step["id"]: step for step in record["steps"]}
        self.documents = {}
        for name, step in self.steps.items():
            if step["job"] != "evaluate":
                continue
            outcome = json.loads((folders[-1] / "steps" / f"{name}.json").read_text())
            if outcome["status"] not in ("done", "cached"):
                sys.exit(f"{store}: step {name} is {outcome['status']}")
            for line in (store / outcome["artifact"] / "documents.jsonl").read_text().splitlines():
                document = json.loads(line)
                if document["tokens"]:
                    cell = self.documents.setdefault((document["model"], document["data"]), [])
                    cell.append((document["id"], document["tokens"], document["nll"]))
        self.sets = list(dict.fromkeys(data for _, data in self.documents))
        self.models = list(dict.fromkeys(model for model, _ in self.documents))

    def score(self, model, data):
        return ratio([(tokens, nll) for _, tokens, nll in self.documents[model, data]])

    def difference(self, model, other, data):
        """How much more `model` loses than `other`, with its error."""
        pairs = list(zip(self.documents[model, data], self.documents[other, data], strict=True))
        if any(one[:2] != two[:2] for one, two in pairs):
            sys.exit(f"{model} and {other} were not measured on the same tokens of {data}")
        return ratio([(one[1], one[2] - two[2]) for one, two in pairs])

    def is_better(self, model, other, data):
        mean, error = self.difference(model, other, data)
        return mean < -CERTAIN * error

    def merged(self, model):
        """The models that a merge merges, the base left out; none for what is no merge."""
        step = self.steps.get(model)
        if step is None or step["job"] != "merge":
            return []
        own = [item["model"][2:].split(".")[0] for item in step["settings"]["models"]]
        base = step["settings"].get("base_model")
        base = base[2:].split(".")[0] if base else None
        return own if base in (None, "base", *own) else [base, *own]

    def parameters(self, model):
        own = self.steps[model]["settings"].get("parameters") or {}
        return ", ".join(f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}" for name, value in own.items())

    def kept(self, model):
        """Mean share of what fine-tuning gained on each merged model's own text."""
        shares = []
        for domain in self.merged(model):
            base, own, this = (self.score(name, domain)[0] for name in ("base", domain, model))
            shares.append((base - this) / (base - own))
        return sum(shares) / len(shares)


def number(mean, error, sign=False):
    text = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    return f"{text.replace('-', '−')} ± {error:.3f}"


def table(head, rows):
    sides = ["---" if name in ("model", "method", "parameters") else "---:" for name in head]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, sides)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def scores(run, models, bold=()):
    rows = []
    for model in models:
        cells = []
        for data in run.sets:
            others = [other for other in bold if other != model]
            is_best = model in bold and all(run.is_better(model, other, data) for other in others)
            text = number(*run.score(model, data))
            cells.append(f"**{text}**" if is_best else text)
        rows.append((model, cells))
    return rows


def merges(run, group):
    """Three tables of merges of the same models: losses, differences from the first, and how they were made."""
    rows = [[f"`{model}`", run.parameters(model), *cells, f"{100 * run.kept(model):.0f} %"] for model, cells in scores(run, group, group)]
    yield table(["method", "parameters", *run.sets, "gain kept"], rows)
    first = group[0]
    yield f"Difference from `{first}`, paired by document (below zero is better):"
    rows = [[f"`{model}`", *(number(*run.difference(model, first, data), sign=True) for data in run.sets)] for model in group[1:]]
    yield table(["method", *run.sets], rows)


def names(models):
    quoted = [f"`{model}`" for model in models]
    return ", ".join(quoted[:-1]) + (" and " if len(quoted) > 1 else "") + quoted[-1]


def sentence_of(run, group, data):
    """Who is best on a text, and who cannot be told from it."""
    order = sorted(group, key=lambda model: run.score(model, data)[0])
    best = order[0]
    close = [model for model in order[1:] if not run.is_better(best, model, data)]
    mean = run.score(best, data)[0]
    if close:
        return f"On {data} the least loss is `{best}`'s ({mean:.3f}), but {names(close)} cannot be told from it."
    gap, error = run.difference(order[1], best, data)
    return f"On {data} `{best}` is best ({mean:.3f}), before `{order[1]}` by {gap:.3f} ± {error:.3f}."


def words(run, group, other):
    """What the tables say about merges of the same models."""
    first, domains = group[0], run.merged(group[0])
    text = [sentence_of(run, group, data) for data in run.sets if data in (*domains, other)]
    ahead = [model for model in group[1:] if all(run.is_better(model, first, data) for data in domains)]
    behind = [model for model in group[1:] if all(run.is_better(first, model, data) for data in domains)]
    if ahead:
        text.append(f"Better than `{first}` on the text of every merged model, each time by more than two standard errors: {names(ahead)}.")
    else:
        text.append(f"No method is better than `{first}` on the text of every merged model by more than two standard errors.")
    if behind:
        text.append(f"Worse on every one of them: {names(behind)}.")
    order = sorted(group, key=run.kept)
    text.append(
        f"Of what fine-tuning gained, `{order[-1]}` keeps the most, {100 * run.kept(order[-1]):.0f} % on average, and "
        f"`{order[0]}` the least, {100 * run.kept(order[0]):.0f} %."
    )
    costs = {model: run.difference(model, "base", other)[0] for model in group}
    least, most = min(costs, key=costs.get), max(costs, key=costs.get)
    tuned = [run.difference(model, "base", other)[0] for model in domains]
    text.append(
        f"On {other} the fine-tunes lose {min(tuned):+.3f} to {max(tuned):+.3f} nats a token to the base, the merges "
        f"{costs[least]:+.3f} (`{least}`) to {costs[most]:+.3f} (`{most}`)."
    )
    return " ".join(text)


def section(run):
    title, about, other = MODELS.get(run.pipeline, (run.pipeline, "", run.sets[-1]))
    given = [model for model in run.models if not run.merged(model)]
    groups = {}
    for model in run.models:
        if run.merged(model):
            groups.setdefault(tuple(run.merged(model)), []).append(model)
    counts = ", ".join(f"{len(run.documents['base', data])} of {data}" for data in run.sets)
    yield f"## {title}"
    yield about
    yield f"Documents: {counts}."
    yield table(["model", *run.sets], [[f"`{model}`", *cells] for model, cells in scores(run, given)])
    for merged, group in groups.items():
        if len(merged) == 1:
            same = all(run.documents[group[0], data][i][2] == run.documents[merged[0], data][i][2]
                       for data in run.sets for i in range(len(run.documents[merged[0], data])))  # fmt: skip
            yield f"`{group[0]}` of `{merged[0]}` alone, a check: its likelihoods are {'the very' if same else 'NOT the'} same."
            continue
        yield f"### {names(merged)} merged"
        yield from merges(run, group)
        yield words(run, group, other)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    parts = [
        "# What merging does to likelihood",
        "Every method on the same fine-tunes. Made by `scripts/merge_results.py` of the records of "
        "`pipelines/merge-methods.yaml`, the words under the tables too; how to run it stands at its top.",
        "Figures are negative log-likelihoods in nats a token on held-out text, with standard errors over documents; of a question "
        "with an answer, the answer counts. Parameters are the usual ones, tuned on nothing; with others a method may do better "
        "or worse. A figure is bold if it is better than that of every other method in its table by more than two standard "
        "errors of their paired difference. Methods that draw at random (`dare`, `della`) were drawn once, with seed 0; what "
        "another draw would change is not in the errors. `gain kept` is the share of what each fine-tune gained over the base on its own "
        "text that the merge has too, a mean over the merged models.",
    ]
    for store in sys.argv[1:]:
        parts += section(Run(pathlib.Path(store)))
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
