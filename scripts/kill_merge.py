"""Kills a merge at random points, runs it again, and compares the result with one that was never killed.

    python3 scripts/kill_merge.py TRIB MERGE.yml OUT [--times 20] [--seed 1] [-- OPTIONS OF TRIB MERGE]

OUT is a folder that is made and removed. Prints, for every kill, when it came, how many files were finished by then and how much was
read again; exits 1 if any result differs. What is read is what the system counted for the process (rchar of /proc/PID/io).
"""

import argparse
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path


def read_by(process):
    for line in Path(f"/proc/{process.pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


def start(arguments, out):
    command = [arguments.trib, "merge", arguments.document, out, "--json", *arguments.options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Waits; gives the answer, the seconds and the bytes read."""
    begin, read = time.monotonic(), 0
    while process.poll() is None:
        try:
            read = max(read, read_by(process))
        except OSError:
            break
        time.sleep(0.01)
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"the merge failed ({process.returncode}): {err}")
    return json.loads(out), time.monotonic() - begin, read


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trib")
    parser.add_argument("document")
    parser.add_argument("out")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(given.split())
    arguments.options = options.split()
    draw = random.Random(arguments.seed)

    shutil.rmtree(arguments.out, ignore_errors=True)
    whole, seconds, read = finish(start(arguments, arguments.out))
    files = len(list(Path(arguments.out).glob("*.safetensors")))
    digest = whole["digest"]
    print(f"in one go: {seconds:.2f} s, {read / 1e9:.2f} GB read, {files} files, digest {digest[:16]}")

    repeated, differ, too_late = [], 0, 0
    for number in range(arguments.times):
        shutil.rmtree(arguments.out, ignore_errors=True)
        moment = draw.uniform(0.0, seconds)
        process = start(arguments, arguments.out)
        time.sleep(moment)
        try:
            before = read_by(process) if process.poll() is None else 0
        except OSError:
            before = 0
        is_killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen = sorted(path.name for path in Path(arguments.out).glob("*") if not path.name.startswith("."))
        if is_killed and "tributary.json" not in seen and seen:
            print(f"  files are to be seen without a manifest: {seen}")
            differ += 1
        again, _, after = finish(start(arguments, arguments.out))
        if not is_killed:
            too_late += 1
        found = (again.get("execution") or {}).get("bytes_found", 0)
        share = (before + after) / read - 1
        repeated.append(max(share, 0.0))
        same = again["digest"] == digest
        differ += not same
        print(f"{number + 1:3}: killed after {moment:5.2f} s, {before / 1e9:5.2f} GB read; then {found / 1e9:5.2f} GB of files found, "
              f"{after / 1e9:5.2f} GB read: {100 * share:+5.1f} % more than in one go, {'the same' if same else 'ANOTHER'} result")
    shutil.rmtree(arguments.out, ignore_errors=True)
    print(f"{arguments.times} kills ({too_late} came after the end): {differ} results differ; read again, of one whole merge: "
          f"median {100 * statistics.median(repeated):.1f} %, most {100 * max(repeated):.1f} %")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
