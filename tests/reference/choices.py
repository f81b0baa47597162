"""lm-evaluation-harness on a task file: log-likelihoods, acc and acc_norm, question by question, as JSON.

    python choices.py MODEL TASK.yaml ROWS.jsonl LIMIT
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def main():
    import lm_eval
    import yaml
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, task, rows, limit = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        keys = yaml.safe_load(open(task))
        keys.update(dataset_path="json", dataset_kwargs={"data_files": {"test": os.path.abspath(rows)}}, test_split="test")
        pathlib.Path(folder, "task.yaml").write_text(yaml.safe_dump(keys))
        os.environ["HF_HOME"] = folder
        harness = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=4)
        found = lm_eval.simple_evaluate(
            model=harness, tasks=[keys["task"]], limit=int(limit), log_samples=True, bootstrap_iters=0,
            task_manager=TaskManager(include_path=folder, include_defaults=False),
        )
    samples = sorted(found["samples"][keys["task"]], key=lambda sample: sample["doc_id"])
    print(json.dumps([
        {
            "row": sample["doc_id"], "gold": sample["target"], "acc": sample["acc"], "acc_norm": sample["acc_norm"],
            "log_likelihoods": [float(answer[0]) for answer in sample["filtered_resps"]],
        }
        for sample in samples
    ]))


if __name__ == "__main__":
    main()
