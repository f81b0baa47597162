"""What the benchmarks of merging share: programs measured, floors of the machine, warnings about it.

Not a program. Seconds are of the wall clock, sizes in bytes. Needs nothing but Python's standard library.
"""

import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import threading
import time

BLOCK = 1 << 20
# Above this many runnable threads at the start, timings are of little use.
CALM = 0.5


def warn_if_loaded():
    """Says so if others use the machine; returns the load average."""
    load = os.getloadavg()[0]
    if load > CALM:
        print(
            f"THE MACHINE IS LOADED: load average {load:.1f} on {os.cpu_count()} cores, where {CALM} is calm. What follows shows "
            "that the script works, not how fast anything is: stop the others, wait a minute and run it again.",
            file=sys.stderr,
        )
    return load


def watch_anonymous(pid, peak, done):
    """The largest RssAnon of a process: its own memory, without mapped files."""
    while not done.is_set():
        try:
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("RssAnon"):
                    peak[0] = max(peak[0], int(line.split()[1]) * 1024)
        except OSError:
            return
        done.wait(0.02)


def run(command, log, environment=None):
    """Runs a program to its end: `wall`, `cpu` (user and system), `peak` (resident), `anonymous`."""
    start = time.monotonic()
    with open(log, "wb") as out:
        surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})}
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=surroundings)
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
    """Seconds until the files of a folder are on the device."""
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


def tensor_files(model):
    return sorted(pathlib.Path(model).glob("*.safetensors"))


def tensor_bytes(model):
    return sum(os.path.getsize(file) for file in tensor_files(model))


def medians(runs):
    """The median of every measurement."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def spread(values, form="{:.2f}"):
    """`median (lowest to highest)`."""
    low, high = form.format(min(values)), form.format(max(values))
    middle = form.format(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def table(head, rows, left=1):
    """A Markdown table; the first `left` columns are words, the others numbers."""
    sides = ["---" if index < left else "---:" for index in range(len(head))]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in [head, sides, *rows])
