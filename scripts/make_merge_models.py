#!/usr/bin/env python3
"""Makes one base model and N fine-tunes of it, Llama-shaped, bf16, with random weights: files to merge.

    python scripts/make_merge_models.py OUT [--fine-tunes 3] [--layers 22] [--hidden 2048] ...

The defaults have 1.1 billion parameters each (the shape of TinyLlama-1.1B), 2.2 GB a model. Weights come from a seeded
pool of normal numbers that is read at an offset depending on the tensor's name, so a model takes seconds and the same
arguments give the same bytes. A fine-tune is the base plus noise of its own size (its "dose": 1, 1.5, 2, ... thousandths).
Needs numpy, torch and safetensors; writes a word-level tokenizer by hand so that mergekit finds one.
"""

import argparse
import json
import pathlib
import zlib

import torch
from safetensors.torch import save_file

POOL = 1 << 23


def shapes(a):
    head = a.hidden // a.heads
    yield "model.embed_tokens.weight", (a.vocabulary, a.hidden)
    for i in range(a.layers):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (a.hidden,)
        yield p + "self_attn.q_proj.weight", (a.hidden, a.hidden)
        yield p + "self_attn.k_proj.weight", (a.kv_heads * head, a.hidden)
        yield p + "self_attn.v_proj.weight", (a.kv_heads * head, a.hidden)
        yield p + "self_attn.o_proj.weight", (a.hidden, a.hidden)
        yield p + "post_attention_layernorm.weight", (a.hidden,)
        yield p + "mlp.gate_proj.weight", (a.intermediate, a.hidden)
        yield p + "mlp.up_proj.weight", (a.intermediate, a.hidden)
        yield p + "mlp.down_proj.weight", (a.hidden, a.intermediate)
    yield "model.norm.weight", (a.hidden,)
    if not a.tied:
        yield "lm_head.weight", (a.vocabulary, a.hidden)


def pool(seed):
    return torch.randn(POOL, generator=torch.Generator().manual_seed(seed))


def take(numbers, name, shape):
    """The pool, read in a ring from an offset that the name decides, shaped."""
    count = 1
    for size in shape:
        count *= size
    start = zlib.crc32(name.encode()) % POOL
    ring = torch.roll(numbers, -start)
    return ring.repeat(-(-count // POOL))[:count].reshape(shape)


def tokenizer(vocabulary):
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, vocabulary)}}
    special = [
        {"id": i, "content": w, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for w, i in list(words.items())[:3]
    ]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
    }


def write(directory, tensors, a, dtype):
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": a.hidden,
        "intermediate_size": a.intermediate, "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads, "vocab_size": a.vocabulary, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": a.tied, "torch_dtype": dtype,
        "bos_token_id": 1, "eos_token_id": 2,
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer(a.vocabulary)))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--fine-tunes", type=int, default=3)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    dtype = getattr(torch, a.dtype)

    numbers = pool(a.seed)
    base = {
        name: (1 + 0.1 * x if "norm" in name else 0.02 * x).to(dtype)
        for name, shape in shapes(a)
        for x in [take(numbers, name, shape)]
    }
    write(a.out / "base", base, a, a.dtype)
    parameters = sum(t.numel() for t in base.values())
    print(f"{a.out / 'base'}: {parameters:,} parameters")
    for index in range(a.fine_tunes):
        noise = pool(a.seed + 1 + index) * (1e-3 * (1 + 0.5 * index))
        tuned = {name: (t.float() + take(noise, name, t.shape)).to(dtype) for name, t in base.items()}
        write(a.out / f"tuned-{index + 1}", tuned, a, a.dtype)
        print(a.out / f"tuned-{index + 1}")


if __name__ == "__main__":
    main()
