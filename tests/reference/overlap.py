"""The scores of both ROUGE packages, rouge-score 0.1.2 (with and without stemmer) and rouge 1.0.1, pair by pair.

    python overlap.py PAIRS.jsonl

Reads lines {"prediction", "reference"}, prints a list of {variant: {measure: [precision, recall, F1]}}; null for a variant that
refuses the pair.
"""

import json
import sys

MEASURES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
PYPI = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}


def google(scorer, prediction, reference):
    found = scorer.score(reference, prediction)
    return {measure: [float(value) for value in found[measure]] for measure in MEASURES}


def pypi(scorer, prediction, reference):
    try:
        found = scorer.get_scores(prediction, reference)[0]
    except ValueError:
        return None
    return {name: [float(found[measure][key]) for key in "prf"] for measure, name in PYPI.items()}


def main():
    from rouge import Rouge
    from rouge_score.rouge_scorer import RougeScorer

    # The package walks back through its table by recursion, a call a word.
    sys.setrecursionlimit(1_000_000)
    plain, stemmed, other = RougeScorer(MEASURES), RougeScorer(MEASURES, use_stemmer=True), Rouge()
    with open(sys.argv[1], encoding="utf-8") as lines:
        pairs = [(pair["prediction"], pair["reference"]) for pair in map(json.loads, lines)]
    print(json.dumps([
        {"google": google(plain, *texts), "google_stemmed": google(stemmed, *texts), "pypi": pypi(other, *texts)}
        for texts in pairs
    ]))


if __name__ == "__main__":
    main()
