#!/usr/bin/env python3
"""Merges the same models on the disk and from S3 to S3 in turn; prints the ratio, and what went over the network.

    cargo build --release --workspace --bins --tests
    python3 scripts/bench_merge_s3.py /tmp/bench-models

The folder holds `base` and `tuned-1..n` (`scripts/make_merge_models.py`). The server (`s3_server`, of crates/testkit) speaks
S3 over HTTP on the loopback address. It serves the very files of the folder, keeps uploads in its memory, and shares
the processors with the merge: both ends of the line are paid here, where a real server has machines of its own. It believes
every signature and computes no checksum; we sign what we send, unless `--unsigned-payload`. The disk's merge syncs its output
to the device, the server does not.

Where `curl` is installed, it moves the same bytes through the same server and drops them: every model read, two at a time, and
one of their size written. What that takes on these processors no merge from S3 to S3 can fall short of.

For every object read, the bytes that the server sent are compared with its size ("no byte twice without need": a method
that measures before it merges may need two passes), and what it received with the size of the output. Needs nothing but
Python's standard library.
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
import tempfile
import urllib.request

import measure

# Has it a base, and its parameters.
METHODS = {
    "linear": (False, "weight: 0.4"),
    "task_arithmetic": (True, "weight: 0.4"),
    "metagpt": (True, ""),
    "ties": (True, "weight: 0.4, density: 0.5"),
}
BUCKET = "bucket"


class Server:
    """The S3 server over the models, as long as the value is used in `with`."""

    def __init__(self, command, models):
        self.folder = tempfile.TemporaryDirectory(dir=models[0].parent)
        bucket = pathlib.Path(self.folder.name, BUCKET)
        bucket.mkdir()
        for model in models:
            (bucket / model.name).symlink_to(model)
        arguments = [*shlex.split(command), self.folder.name, "0", "--count", "yes", "--seconds", "86400"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.environment = {}
        for line in self.process.stdout:
            if line.startswith("#"):
                break
            name, _, value = line.strip().partition("=")
            self.environment[name] = value
        if not self.environment:
            sys.exit("the S3 server did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def traffic(self, method="GET"):
        """What went over the network since the counts were last cleared (with DELETE)."""
        request = urllib.request.Request(self.environment["AWS_ENDPOINT_URL"] + "/-/traffic", method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    def cpu(self):
        """Seconds of processors that the server has used."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def read(self, key):
        with urllib.request.urlopen(f"{self.environment['AWS_ENDPOINT_URL']}/{BUCKET}/{key}") as answer:
            return answer.read()

    def delete(self, prefix, keys):
        for key in keys:
            request = urllib.request.Request(f"{self.environment['AWS_ENDPOINT_URL']}/{BUCKET}/{prefix}/{key}", method="DELETE")
            urllib.request.urlopen(request).close()


def document(method, models):
    has_base, parameters = METHODS[method]
    lines = [f"merge_method: {method}", "models:"]
    if has_base:
        lines.insert(1, f"base_model: {models[0]}")
        models = models[1:]
    # Names, so that the outputs say the same of models from both places.
    lines += [f"  - {{model: {model}, name: {model.rpartition('/')[2]}}}" for model in models]
    if parameters:
        lines.append(f"parameters: {{{parameters}}}")
    return "\n".join(lines) + "\n"


def tensor_digests(manifest):
    """Digests of the tensors' files; what is said about the models beside them differs with their addresses."""
    entries = json.loads(manifest)["objects"]
    return {entry["path"]: entry["blake3"] for entry in entries if entry["path"].endswith(".safetensors")}


class Bench:
    def __init__(self, arguments, server, models, work):
        self.a, self.server, self.models, self.work = arguments, server, models, work
        self.environment = dict(server.environment)
        if arguments.unsigned_payload:
            self.environment["AWS_UNSIGNED_PAYLOAD"] = "true"
        self.runs, self.traffic, self.output = {}, {}, {}

    def merge(self, method, place):
        config, out, log = self.work / "merge.yml", self.work / "out", self.work / "log"
        at, to = [str(model) for model in self.models], str(out)
        if place == "s3":
            at, to = [f"s3://{BUCKET}/{model.name}" for model in self.models], f"s3://{BUCKET}/out"
        config.write_text(document(method, at))
        self.server.traffic("DELETE")
        before = self.server.cpu()
        measured = measure.run(
            [self.a.program, "merge", str(config), to, "--json", "--quiet"], log, self.environment if place == "s3" else None
        )
        measured["server_cpu"] = self.server.cpu() - before
        if place == "s3":
            self.traffic[method] = self.server.traffic()
            if tensor_digests(self.server.read("out/tributary.json")) != self.output[method]["digests"]:
                sys.exit(f"{method}: from S3 the tensors are others than from the disk")
            self.server.delete("out", self.output[method]["files"])
        else:
            files = {str(file.relative_to(out)): file.stat().st_size for file in out.rglob("*") if file.is_file()}
            self.output[method] = {"digests": tensor_digests((out / "tributary.json").read_bytes()), "files": files}
            shutil.rmtree(out)
        self.runs.setdefault((method, place), []).append(measured)
        print(f"  {method}, {place}: {measured['wall']:.2f} s", file=sys.stderr)

    def bytes_alone(self):
        """Curl reads all models, two at a time, while it writes one."""
        if not shutil.which("curl"):
            return
        address = f"{self.environment['AWS_ENDPOINT_URL']}/{BUCKET}"
        files = [file for model in self.models for file in measure.tensor_files(model)]
        reads = " ".join(shlex.quote(f"{address}/{file.parent.name}/{file.name}") for file in files)
        writes = " ".join(f"-T {shlex.quote(str(file))} {address}/moved/{file.name}" for file in measure.tensor_files(self.models[0]))
        command = f"curl -sf {writes} -o /dev/null & printf '%s\\n' {reads} | xargs -P 2 -n 1 curl -sf -o /dev/null && wait $!"
        before = self.server.cpu()
        measured = measure.run(["sh", "-c", command], self.work / "log", None)
        measured["server_cpu"] = self.server.cpu() - before
        self.server.delete("moved", [file.name for file in measure.tensor_files(self.models[0])])
        self.runs.setdefault(("the bytes alone", "s3"), []).append(measured)
        print(f"  the bytes alone: {measured['wall']:.2f} s", file=sys.stderr)

    def round(self, number):
        places = ["disk", "s3"]
        self.bytes_alone()
        for method in self.a.methods:
            # The disk goes first in the first round, which needs its digests.
            for place in reversed(places) if number % 2 else places:
                self.merge(method, place)


def timings(bench):
    head = ["method", "place", "wall, s", "cpu, s", "the server's cpu, s", "peak, MB", "wall, times the disk's", "best, times"]
    rows = []
    for (method, place), runs in bench.runs.items():
        m, disk = measure.medians(runs), bench.runs.get((method, "disk"))
        times = ["", ""]
        if place == "s3" and disk:
            wall = statistics.median(run["wall"] for run in disk)
            least = min(run["wall"] for run in runs) / min(run["wall"] for run in disk)
            times = [f"{m['wall'] / wall:.2f}", f"{least:.2f}"]
        rows.append([
            method, place, measure.spread([run["wall"] for run in runs]), f"{m['cpu']:.1f}", f"{m['server_cpu']:.1f}",
            f"{m['peak'] / 1e6:.0f}", *times,
        ])  # fmt: skip
    return measure.table(head, rows, left=2)


def traffic(bench):
    """Of the last round: what was sent of each model's tensors, and what was received, against sizes."""
    rows = []
    for method, counts in bench.traffic.items():
        sent = {count["path"]: count for count in counts if count["method"] == "GET"}
        for model in bench.models:
            for file in measure.tensor_files(model):
                count = sent.get(f"/{BUCKET}/{model.name}/{file.name}", {"requests": 0, "sent": 0})
                size = file.stat().st_size
                rows.append([method, f"{model.name}/{file.name}", "sent", count["requests"], f"{count['sent'] / 1e6:.2f}",
                             f"{size / 1e6:.2f}", f"{count['sent'] / size:.4f}"])  # fmt: skip
        tensors = {f"/{BUCKET}/{model.name}/{file.name}" for model in bench.models for file in measure.tensor_files(model)}
        others = [count for path, count in sent.items() if path not in tensors]
        files = [file for model in bench.models for file in model.iterdir() if file.is_file()]
        sizes = sum(file.stat().st_size for file in files if file.suffix != ".safetensors")
        got, asked = sum(count["sent"] for count in others), sum(count["requests"] for count in others)
        rows.append([method, "all else", "sent", asked, f"{got / 1e6:.2f}", f"{sizes / 1e6:.2f}", f"{got / sizes:.4f}" if sizes else ""])
        received = [count for count in counts if count["method"] in ("PUT", "POST")]
        got, asked = sum(count["received"] for count in received), sum(count["requests"] for count in received)
        size = sum(bench.output[method]["files"].values())
        rows.append([method, "the output", "received", asked, f"{got / 1e6:.2f}", f"{size / 1e6:.2f}", f"{got / size:.4f}"])
    return measure.table(["method", "object", "", "requests", "MB", "size, MB", "times its size"], rows, left=3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--program", default="target/release/trib")
    parser.add_argument("--server", default="target/release/s3_server", help="command that takes DIR PORT --count yes")
    parser.add_argument("--methods", default="linear,task_arithmetic,ties", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unsigned-payload", action="store_true", help="do not hash what is sent for its signature")
    parser.add_argument("--json", type=pathlib.Path, help="also write every measurement here")
    parser.add_argument("--markdown", type=pathlib.Path, help="also write the tables here")
    a = parser.parse_args()
    a.methods = a.methods.split(",")
    unknown = [method for method in a.methods if method not in METHODS]
    if unknown:
        parser.error(f"no such method here: {', '.join(unknown)}; there are {', '.join(METHODS)}")
    folder = a.models.resolve()
    models = [folder / "base", *sorted(path for path in folder.glob("tuned-*") if path.is_dir())]
    load = measure.warn_if_loaded()
    measure.read_all([file for model in models for file in measure.tensor_files(model)])
    with Server(a.server, models) as server, tempfile.TemporaryDirectory(dir=folder) as work:
        bench = Bench(a, server, models, pathlib.Path(work))
        for number in range(a.rounds):
            print(f"round {number + 1} of {a.rounds}", file=sys.stderr)
            bench.round(number)
    about = (
        f"{len(models)} models of {measure.tensor_bytes(models[0]) / 1e9:.2f} GB, {a.rounds} rounds, medians (lowest to highest); "
        f"{os.cpu_count()} cores, shared with the server, load average {load:.1f} at the start; payloads "
        f"{'not ' if a.unsigned_payload else ''}signed. Tensors have the same digests. `best` compares the fastest rounds."
    )
    text = "\n\n".join([about, timings(bench), "Over the network, in the last round:", traffic(bench)])
    print(text)
    if a.json:
        runs = [{"method": method, "place": place, "runs": runs} for (method, place), runs in bench.runs.items()]
        a.json.write_text(json.dumps({"load": load, "runs": runs, "traffic": bench.traffic, "output": bench.output}, indent=1) + "\n")
    if a.markdown:
        a.markdown.write_text(text + "\n")


if __name__ == "__main__":
    main()
