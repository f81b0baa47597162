"""The IFEval checkers of lm-evaluation-harness on given responses, as JSON: per prompt, what holds strictly and loosely.

    python instructions.py input_data.jsonl example_en_responses.jsonl

The two files hold the same prompts in the same order. The checkers are lm_eval/tasks/ifeval/*.py as installed, loaded without the
rest of the package. What is not theirs:
  - langdetect draws at random: its seed is set.
  - A letter that is none ('#', '!') makes the checker draw another one at random: such an instruction is null.
  - Sentences are split by nltk's Punkt with its English model where nltk's data are (NLTK_DATA); without, by an untrained Punkt,
    which knows no abbreviation ("sentences": "untrained").
"""

import importlib.util
import json
import logging
import os
import pathlib
import sys
import types

# Its import would download nltk's data and say so on the standard output; not on other ranks than the first.
os.environ["LOCAL_RANK"] = "1"


def checkers():
    folder = pathlib.Path(list(importlib.util.find_spec("lm_eval").submodule_search_locations)[0])
    for name, path in [("lm_eval", folder), ("lm_eval.tasks", folder / "tasks"), ("lm_eval.tasks.ifeval", folder / "tasks/ifeval")]:
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = [str(path)]
    from lm_eval.tasks.ifeval import instructions_util, utils

    return instructions_util, utils


def splitter():
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTokenizer

    try:
        return "punkt_tab", PunktTokenizer("english")
    except LookupError:
        return "untrained", PunktSentenceTokenizer()


def main():
    import langdetect
    import nltk

    logging.disable(logging.CRITICAL)
    langdetect.DetectorFactory.seed = 0
    kind, sentences = splitter()
    words = nltk.tokenize.NLTKWordTokenizer()
    instructions_util, utils = checkers()
    instructions_util._get_sentence_tokenizer = lambda: sentences
    nltk.word_tokenize = lambda text: [word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)]

    data, answers = ([json.loads(line) for line in open(path, encoding="utf-8")] for path in sys.argv[1:])
    prompts = []
    for row, answer in zip(data, answers, strict=True):
        example = utils.InputExample(row["key"], row["instruction_id_list"], row["prompt"], row["kwargs"])
        drawn = ["letter" in given and not given["letter"].isalpha() for given in row["kwargs"]]
        found = {"key": row["key"]}
        for name, check in [("strict", utils.test_instruction_following_strict), ("loose", utils.test_instruction_following_loose)]:
            holds = check(example, answer["response"]).follow_instruction_list
            found[name] = [None if random else bool(value) for random, value in zip(drawn, holds)]
        prompts.append(found)
    print(json.dumps({"sentences": kind, "prompts": prompts}))


if __name__ == "__main__":
    main()
