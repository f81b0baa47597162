"""Runs a packed `trib` on a GPU, holds its numbers against the CPU and transformers, and times it beside PyTorch.

    python3 run.py [--device cuda:0] [--quick] [--out FILE]

Runs on a machine with CUDA (driver, NVRTC, headers) and a Python with torch and transformers; needs neither Rust nor a
network. `bin/trib` and `bin/speed` lie beside this file, `peer_baseline.py` may. A model of SmolLM2-135M's sizes is made
with random weights (`--quick`: a tiny one). Checked:

- likelihoods of every token by `trib evaluate`: on the CPU equal to transformers in f32 within 1e-3, on the GPU no further
  from them than twice what transformers in bf16 is;
- losses of the first training steps: on the GPU within 1 % of those on the CPU, and falling.

Then tokens a second of evaluation and training beside PyTorch's in the same run. The table goes to stderr, the figures as
JSON to stdout and to FILE. Exit code 1 if a check fails.
"""
import argparse, glob, json, math, os, random, shutil, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = {
    "smollm2-135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                         num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192, rope_theta=100000.0,
                         tie_word_embeddings=True),
    "tiny": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, vocab_size=512, max_position_embeddings=512, rope_theta=10000.0,
                 tie_word_embeddings=True),
}


def talk(text):
    print(text, file=sys.stderr, flush=True)


def environment():
    """Where CUDA's headers and NVRTC are, for a program that looks in CUDA_PATH and LD_LIBRARY_PATH."""
    found = dict(os.environ)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    wheels = [folder for path in packages for folder in sorted(glob.glob(f"{path}/nvidia/cu*") + [f"{path}/nvidia/cuda_runtime"])]
    nvcc = shutil.which("nvcc")
    roots = ["/usr/local/cuda", "/opt/cuda"] + ([os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))] if nvcc else [])
    if "CUDA_PATH" not in found:
        for root in roots + wheels:
            if os.path.exists(f"{root}/include/cuda_bf16.h"):
                found["CUDA_PATH"] = root
                break
    folders = [f"{root}/{part}" for root in roots for part in ("lib64", "targets/x86_64-linux/lib")]
    folders += [f"{wheel}/lib" for wheel in wheels] + [f"{path}/nvidia/cuda_nvrtc/lib" for path in packages]
    folders = [folder for folder in folders if glob.glob(f"{folder}/libnvrtc.so*")]
    found["LD_LIBRARY_PATH"] = ":".join(filter(None, [found.get("LD_LIBRARY_PATH", "")] + folders))
    return found


def run(arguments, env):
    """The JSON that a program of ours prints."""
    talk("$ " + " ".join(arguments))
    started = time.perf_counter()
    done = subprocess.run(arguments, env=env, stdout=subprocess.PIPE, text=True)
    talk(f"  {time.perf_counter() - started:.1f} s")
    if done.returncode != 0:
        sys.exit(f"{arguments[0]} ended with {done.returncode}")
    return json.loads(done.stdout)


def make_text(path, seed=0, documents=24, words=90):
    """Documents of made-up words."""
    draw = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    lexicon = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(400)]
    texts = [" ".join(draw.choices(lexicon, k=words)) + "." for _ in range(documents)]
    with open(path, "w") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
    return texts


def make_model(folder, shape, texts):
    """A model directory with random weights in bf16 and a tokenizer learnt from `texts`."""
    import torch
    from tokenizers import ByteLevelBPETokenizer, Tokenizer
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    torch.manual_seed(0)
    # Wider than usual, so that likelihoods differ from token to token.
    config = LlamaConfig(**SHAPES[shape], initializer_range=0.05, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(torch.bfloat16).save_pretrained(folder)
    learnt = ByteLevelBPETokenizer()
    learnt.train_from_iterator(texts, vocab_size=min(480, config.vocab_size), min_frequency=2, special_tokens=["<|end|>"],
                               show_progress=False)
    # Ids that no text has, for a model that may say them.
    described = json.loads(learnt._tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    vocabulary.update({f"<{id}>": id for id in range(len(vocabulary), config.vocab_size)})
    tokenizer = Tokenizer.from_str(json.dumps(described))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>")
    wrapped.save_pretrained(folder)


def reference(folder, documents, device, dtype):
    """Likelihoods of the same tokens by transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    scores = []
    with torch.no_grad():
        for document in documents:
            ids = torch.tensor([document["tokens"]], device=device)
            logits = model(ids, use_cache=False).logits[0, :-1].float()
            scores.extend(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist())
    return scores


def differences(ours, theirs):
    if len(ours) != len(theirs):
        sys.exit(f"{len(ours)} likelihoods of ours, {len(theirs)} of transformers")
    pairs = [abs(a - b) for a, b in zip(ours, theirs)]
    return {"tokens": len(pairs), "largest": max(pairs), "rms": math.sqrt(sum(p * p for p in pairs) / len(pairs)),
            "mean_nll": statistics.fmean(ours), "mean_nll_transformers": statistics.fmean(theirs)}


def own_peer(device, shape, rows, length, repeats):
    """What `peer_baseline.py` measures of a shape, where that file is not at hand."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(**SHAPES[shape])
    tokens = torch.randint(0, config.vocab_size, (rows, length), device=device)

    def timed(step):
        sync = torch.cuda.synchronize if device == "cuda" else (lambda: None)
        seconds = []
        for turn in range(2 + repeats):
            start = time.perf_counter()
            step()
            sync()
            seconds.append(time.perf_counter() - start)
        return rows * length / statistics.median(seconds[2:])

    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").to(device).eval()
    with torch.no_grad():
        forward = timed(lambda: model(tokens, use_cache=False))
    del model
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == "cuda")

    def step():
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return {"by": "run.py", "forward_tok_s": forward, "train_tok_s": timed(step)}


def peer(device, shape, rows, length, repeats, quick):
    """PyTorch's tokens a second on `device`, and on how many tokens at once."""
    script = os.path.join(HERE, "peer_baseline.py")
    if not os.path.exists(script):
        return own_peer(device, shape, rows, length, repeats)
    arguments = [sys.executable, script, "--device", device, "--shapes", shape] + (["--quick"] if quick else [])
    talk("$ " + " ".join(arguments))
    lines = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    found = {}
    for line in map(json.loads, filter(None, lines)):
        found.update(line)
    if (found["batch"], found["length"]) != (rows, length):
        sys.exit(f"peer_baseline.py measured {found['batch']}×{found['length']}, not {rows}×{length}")
    return {"by": "peer_baseline.py", **found}


def decode(trib, model, device, new, env):
    """Tokens a second of greedy decoding: of a long text without a short one, so that loading and compiling do not count.

    None if a text ended early, or if the clock cannot tell the two apart.
    """
    shortest = []
    for count in (new // 4, new // 4 + new):
        seconds = []
        for _ in range(3):
            said = run([trib, "generate", model, "--prompt", "ba be bi", "--max-new-tokens", str(count),
                        "--temperature", "0", "--device", device, "--json"], env)
            if len(said["tokens"]) < count:
                return None
            seconds.append(said["seconds"])
        shortest.append(min(seconds))
    return new / (shortest[1] - shortest[0]) if shortest[1] > shortest[0] else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0", help="of our program: cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny model, few tokens")
    parser.add_argument("--out", help="file for the figures")
    parser.add_argument("--folder", help="where the model is made (default: a temporary folder)")
    arguments = parser.parse_args()
    import torch

    env = environment()
    on_gpu = arguments.device.startswith("cuda")
    torch_device = "cuda" if on_gpu else "cpu"
    shape, rows, length, repeats = ("tiny", 2, 64, 3) if arguments.quick else ("smollm2-135m", 8, 1024, 7)
    folder = arguments.folder or tempfile.mkdtemp(prefix="gpu-check-")
    model, data = os.path.join(folder, "model"), os.path.join(folder, "text.jsonl")
    trib, speed = os.path.join(HERE, "bin", "trib"), os.path.join(HERE, "bin", "speed")
    figures = {"device": arguments.device, "gpu": torch.cuda.get_device_name() if on_gpu else None, "shape": shape,
               "rows": rows, "length": length, "torch": torch.__version__, "cuda_path": env.get("CUDA_PATH")}
    faults = []

    make_model(model, shape, make_text(data))
    likelihoods = {}
    for device in dict.fromkeys(["cpu", arguments.device]):
        said = run([trib, "evaluate", model, "--data", data, "--metrics", "nll", "--per-token", "--context", "512",
                    "--device", device, "--json"], env)
        documents = said["results"][0]["documents"]
        likelihoods[device] = [score for document in documents for score in document["nll"][1:]]
    exact = reference(model, documents, "cpu", torch.float32)
    rounded = reference(model, documents, torch_device, torch.bfloat16)
    figures["likelihood"] = {
        "ours_cpu": differences(likelihoods["cpu"], exact),
        "ours": differences(likelihoods[arguments.device], exact),
        "transformers_bf16": differences(rounded, exact),
    }
    if figures["likelihood"]["ours_cpu"]["largest"] > 1e-3:
        faults.append("on the CPU a likelihood differs from transformers' by more than 1e-3")
    if figures["likelihood"]["ours"]["rms"] > 2 * figures["likelihood"]["transformers_bf16"]["rms"] + 1e-4:
        faults.append(f"on {arguments.device} likelihoods differ from f32 by more than twice what transformers in bf16 does")

    small = ["--shape", shape, "--rows", "2", "--length", "128", "--repeats", "4"]
    trained = {device: run([speed, "--device", device] + small, env) for device in dict.fromkeys(["cpu", arguments.device])}
    ours, cpu = trained[arguments.device]["losses"], trained["cpu"]["losses"]
    # On the CPU alone there is nothing to compare.
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours, cpu)) if on_gpu else None
    figures["training"] = {"losses": ours, "losses_cpu": cpu, "largest_relative_difference": apart}
    if on_gpu and apart > 0.01:
        faults.append("losses of the first training steps differ by more than 1 % between GPU and CPU")
    if not ours[-1] < ours[0]:
        faults.append("the loss does not fall")

    sizes = ["--shape", shape, "--rows", str(rows), "--length", str(length), "--repeats", str(repeats)]
    figures["ours"] = run([speed, "--device", arguments.device] + sizes, env)
    figures["peer"] = peer(torch_device, shape, rows, length, repeats, arguments.quick)
    figures["ours"]["decode_tokens_per_second"] = decode(trib, model, arguments.device, 16 if arguments.quick else 128, env)
    rates = {"evaluation": ("evaluate_tokens_per_second", "forward_tok_s"),
             "training": ("train_tokens_per_second", "train_tok_s"),
             "decoding": ("decode_tokens_per_second", "decode_tok_s_batch1")}
    rates = {name: (figures["ours"][us], figures["peer"].get(them)) for name, (us, them) in rates.items()}
    figures["ratios"] = {name: us / them for name, (us, them) in rates.items() if us and them}
    figures["faults"] = faults

    place = figures["gpu"] or "CPU"
    talk(f"\n{shape}, {rows}×{length} tokens, {place}; ours on {arguments.device}, torch {torch.__version__} in bf16")
    talk(f"{'':<12}{'ours, tok/s':>14}{'PyTorch, tok/s':>16}{'ratio':>8}")
    for name, (us, them) in rates.items():
        shown = [f"{value:,.0f}" if value else "-" for value in (us, them)]
        ratio = f"{us / them:.2f}" if us and them else "-"
        talk(f"{name:<12}{shown[0]:>14}{shown[1]:>16}{ratio:>8}")
    for name, row in figures["likelihood"].items():
        talk(f"{name}: likelihoods from transformers f32: rms {row['rms']:.2e}, largest {row['largest']:.2e}, {row['tokens']} tokens")
    talk("training: " + (f"losses of GPU and CPU apart by {apart:.2e} at most" if on_gpu else "no GPU to compare with"))
    for fault in faults:
        talk(f"FAULT: {fault}")
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.out:
        with open(arguments.out, "w") as file:
            file.write(text + "\n")
    if not arguments.folder:
        shutil.rmtree(folder)
    sys.exit(1 if faults else 0)


main()
