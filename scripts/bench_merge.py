#!/usr/bin/env python3
"""Merges the same files with us and with mergekit in turn, and prints the table.

    python scripts/make_merge_models.py /tmp/bench-models
    python scripts/bench_merge.py /tmp/bench-models --mergekit VENV/bin/mergekit-yaml [--ours "target/release/trib merge"]

The folder holds `base` and `tuned-1..n`. Each round runs, for every method, first us, then mergekit. Outputs go beside
the models and are deleted. `wall`, `cpu` (user + system) and `peak` come from wait4 of the process; `anonymous` is the
largest RssAnon seen in /proc (mergekit maps its inputs, and mapped file pages count in `peak`). We sync the output to
the device before we end; mergekit does not, so the time a sync of its output takes is printed too. mergekit has no
metagpt: that row gives it `linear` with the coefficients we found, which is the same merge without finding them.
Needs nothing but Python's standard library.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time

BLOCK = 1 << 20


def document(method, models, weights):
    """A merge file in mergekit's words; task vectors are taken from the first model."""
    lines = [f"merge_method: {method}", "dtype: bfloat16"]
    if method != "linear":
        lines.append(f"base_model: {models[0]}")
        models = models[1:]
    lines.append("models:")
    for index, model in enumerate(models):
        lines.append(f"  - model: {model}")
        if method != "metagpt":
            lines.append(f"    parameters: {{weight: {weights[index]!r}}}")
    return "\n".join(lines) + "\n"


def watch_anonymous(pid, peak, done):
    while not done.is_set():
        try:
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("RssAnon"):
                    peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        except OSError:
            return
        done.wait(0.02)


def run(command, log):
    start = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        peak, done = [0], threading.Event()
        watcher = threading.Thread(target=watch_anonymous, args=(process.pid, peak, done))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
    if process.returncode:
        sys.exit(f"failed ({process.returncode}): {shlex.join(command)}\n{open(log, errors='replace').read()[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024, "anonymous": peak[0]}


def sync(path):
    start = time.monotonic()
    for file in path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return time.monotonic() - start


def read_all(files):
    """Seconds to read the files once, a thread a core."""
    def part(index, count):
        buffer = bytearray(BLOCK)
        for file in files:
            with open(file, "rb", buffering=0) as source:
                for at in range(index * BLOCK, os.path.getsize(file), count * BLOCK):
                    os.preadv(source.fileno(), [buffer], at)

    count = os.cpu_count()
    threads = [threading.Thread(target=part, args=(index, count)) for index in range(count)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start


def write_and_sync(path, size):
    """Seconds to write a file of this size and sync it."""
    data = os.urandom(BLOCK)
    start = time.monotonic()
    with open(path, "wb", buffering=0) as out:
        for _ in range(size // BLOCK):
            out.write(data)
        os.fsync(out.fileno())
    seconds = time.monotonic() - start
    path.unlink()
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--mergekit", required=True, help="path of mergekit-yaml")
    parser.add_argument("--mergekit-flags", default="--lazy-unpickle")
    parser.add_argument("--ours", default="target/release/trib merge", help="command that takes CONFIG and OUT")
    parser.add_argument("--methods", default="linear,task_arithmetic,metagpt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="also write every measurement here")
    a = parser.parse_args()

    folder = a.models.resolve()
    models = [str(folder / "base"), *sorted(str(path) for path in folder.glob("tuned-*") if path.is_dir())]
    files = [str(file) for model in models for file in pathlib.Path(model).glob("*.safetensors")]
    size = sum(os.path.getsize(file) for file in files) // len(models)
    work = folder / "bench-work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    results, floors = {}, []
    load = [os.getloadavg()[0]]
    read_all(files)
    for number in range(a.rounds):
        floors.append((read_all(files), write_and_sync(work / "floor", size)))
        for method in a.methods.split(","):
            weights = [0.3 + 0.1 * index for index in range(len(models))]
            config, ours, theirs = work / f"{method}.yml", work / "ours", work / "theirs"
            config.write_text(document(method, models, weights))
            measured = run([*shlex.split(a.ours), str(config), str(ours)], work / "ours.log")
            results.setdefault((method, "ours"), []).append(measured)
            their_method = method
            if method == "metagpt":
                record = json.loads((ours / "merge.json").read_text())
                weights, their_method = [model["coefficient"] for model in record["models"]], "linear"
            other = models[1:] if method == "metagpt" else models
            config.write_text(document(their_method, other, weights))
            shutil.rmtree(ours)
            command = [a.mergekit, str(config), str(theirs), *shlex.split(a.mergekit_flags)]
            measured = run(command, work / "theirs.log")
            measured["sync"] = sync(theirs)
            results.setdefault((method, "mergekit"), []).append(measured)
            shutil.rmtree(theirs)
            load.append(os.getloadavg()[0])
            last = results[method, "ours"][-1]["wall"], measured["wall"]
            print(f"round {number + 1} {method}: ours {last[0]:.2f} s, mergekit {last[1]:.2f} s", file=sys.stderr)
    shutil.rmtree(work)
    if a.json:
        a.json.write_text(json.dumps({"floors": floors, "runs": [[*key, value] for key, value in results.items()]}))

    reading, writing = (statistics.median(column) for column in zip(*floors))
    print(f"{len(models)} models of {size / 1e9:.2f} GB, {a.rounds} rounds, medians (lowest to highest); {os.cpu_count()} cores, "
          f"load average {min(load):.1f} to {max(load):.1f}; mergekit {a.mergekit_flags}")
    print(f"floor: reading all inputs once {reading:.2f} s, writing and syncing one output {writing:.2f} s\n")
    print("| method | program | wall, s | cpu, s | peak, GB | anonymous, GB | its sync, s | wall, times | peak, times |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for method in a.methods.split(","):
        median = {
            program: {key: statistics.median(r[key] for r in results[method, program]) for key in results[method, program][0]}
            for program in ("ours", "mergekit")
        }
        for program in ("ours", "mergekit"):
            walls = [r["wall"] for r in results[method, program]]
            m = median[program]
            cells = [
                method, program, f"{m['wall']:.2f} ({min(walls):.2f} to {max(walls):.2f})", f"{m['cpu']:.1f}",
                f"{m['peak'] / 1e9:.3f}", f"{m['anonymous'] / 1e9:.3f}", f"{m['sync']:.2f}" if "sync" in m else "included",
            ]
            if program == "ours":
                cells += [f"{median['mergekit'][key] / m[key]:.1f}" for key in ("wall", "peak")]
            else:
                cells += ["", ""]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
