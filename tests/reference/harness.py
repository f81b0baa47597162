"""lm-evaluation-harness on a task file: what it got from the model and its scores, row by row, as JSON.

    python harness.py MODEL TASK.yaml ROWS.jsonl LIMIT [EXAMPLES.jsonl]
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def plain(value):
    """As JSON can say it."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, str) else float(value)


def main():
    import lm_eval
    import yaml
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, task, rows, limit, *examples = sys.argv[1:]
    files = {"test": os.path.abspath(rows), **{"train": os.path.abspath(file) for file in examples}}
    with tempfile.TemporaryDirectory() as folder:
        keys = yaml.safe_load(open(task))
        keys.update(dataset_path="json", dataset_kwargs={"data_files": files}, test_split="test")
        pathlib.Path(folder, "task.yaml").write_text(yaml.safe_dump(keys))
        os.environ["HF_HOME"] = folder
        harness = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=4)
        found = lm_eval.simple_evaluate(
            model=harness, tasks=[keys["task"]], limit=int(limit), log_samples=True, bootstrap_iters=0,
            task_manager=TaskManager(include_path=folder, include_defaults=False),
        )
    samples = sorted(found["samples"][keys["task"]], key=lambda sample: (sample["doc_id"], sample["filter"]))
    results = {name: value for name, value in found["results"][keys["task"]].items() if isinstance(value, float)}
    print(json.dumps({"scores": results, "rows": [
        {
            "row": sample["doc_id"], "filter": sample["filter"], "responses": plain(sample["resps"]),
            "filtered": plain(sample["filtered_resps"]),
            "scores": {metric: plain(sample[metric]) for metric in sample["metrics"]},
        }
        for sample in samples
    ]}))


if __name__ == "__main__":
    main()
