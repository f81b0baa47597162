#!/usr/bin/env python3
"""Kills a pipeline (SIGKILL) at random moments until it is done, and compares its artifacts with an uninterrupted run's.

    python3 scripts/kill_and_resume.py target/release/trib pipelines/quickstart.yaml [KILLS] [SEED]

The first run is not interrupted. Then every process is killed after a random time of up to a fifth of that run and started
again with the same command, one of them right after its beginning, so that two kills follow each other with no work between.
Should the pipeline be done before KILLS (20) kills, its artifacts are compared and it begins again in an empty store. Prints
which steps were running at the kills. Exits with 1 if any object of any artifact differs. Needs only Python's standard library.
"""

import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time


def start(program, document, store):
    command = [program, "run", document, "--store", str(store), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def artifacts(store):
    files = sorted(path for path in (store / "artifacts").rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def running(store):
    """Steps that the last run's records call running."""
    runs = sorted((store / "runs").glob("2*"))
    records = [json.loads(path.read_text()) for path in runs[-1].glob("steps/*.json")] if runs else []
    return sorted(record["step"] for record in records if record["status"] == "running")


def compare(expected, store):
    found = artifacts(store)
    different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    print(f"done: {len(found)} objects, {len(different)} differ", flush=True)
    if different:
        sys.exit("\n".join(different))


def main():
    program, document = sys.argv[1:3]
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    draw = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder, "whole")
        began = time.monotonic()
        if start(program, document, whole).wait() != 0:
            sys.exit("the uninterrupted run failed")
        duration = time.monotonic() - began
        expected = artifacts(whole)
        print(f"uninterrupted: {duration:.1f} s, {len(expected)} objects", flush=True)
        killed, passes = 0, 0
        while killed < kills:
            passes += 1
            store = pathlib.Path(folder, f"killed-{passes}")
            while True:
                span = 0.3 if killed == 1 else draw.uniform(0, duration / 5)
                process = start(program, document, store)
                try:
                    status = process.wait(None if killed == kills else span)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    killed += 1
                    print(f"kill {killed} after {span:.1f} s in {', '.join(running(store)) or 'no step'}", flush=True)
                    continue
                if status != 0:
                    sys.exit(f"a run ended with {status}")
                break
            compare(expected, store)
        print(f"killed {killed} times in {passes} pass(es): every artifact as if never interrupted")


main()
