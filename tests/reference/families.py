"""Small random models of every family, saved as their authors save them, and their logits for the same tokens.

    python families.py FOLDER

Writes FOLDER/NAME for each and prints {NAME: {"tokens": [...], "logits": [[...]]}}.
"""

import json
import pathlib
import sys

import torch
from transformers import (
    LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
)

SIZES = dict(
    vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "mistral": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=None)),
    "mistral_window": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=11)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=16)),
    # Not in transformers: the Llama that it is.
    "baichuan2": (LlamaForCausalLM, LlamaConfig(**{**SIZES, "num_key_value_heads": 4})),
}


def save_baichuan(place, state, config):
    """A Llama as Baichuan2 7B stores it: queries, keys and values in one matrix, and a head that is normalised before use."""
    from safetensors.torch import save_file

    stored = {}
    for name, tensor in state.items():
        layer, _, part = name.partition(".self_attn.")
        if part in ("k_proj.weight", "v_proj.weight"):
            continue
        if part == "q_proj.weight":
            parts = [state[f"{layer}.self_attn.{kind}_proj.weight"] for kind in "qkv"]
            name, tensor = f"{layer}.self_attn.W_pack.weight", torch.cat(parts)
        if name == "lm_head.weight":
            # Any length of its rows is the same model.
            tensor = tensor * (0.5 + torch.rand(tensor.shape[0], 1))
        stored[name] = tensor.contiguous()
    place.mkdir(parents=True)
    save_file(stored, place / "model.safetensors", metadata={"format": "pt"})
    keys = {**config.to_dict(), "architectures": ["BaichuanForCausalLM"], "model_type": "baichuan"}
    del keys["num_key_value_heads"]
    (place / "config.json").write_text(json.dumps(keys))


def main():
    torch.manual_seed(3)
    tokens = torch.randint(3, 97, (1, 40))
    answers = {}
    for name, (kind, config) in MODELS.items():
        model = kind(config).eval()
        with torch.no_grad():
            # Far from the initial values, so that biases and norms count.
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            if name == "baichuan2":
                model.lm_head.weight.copy_(torch.nn.functional.normalize(model.lm_head.weight))
            logits = model(tokens).logits[0]
        place = pathlib.Path(sys.argv[1], name)
        if name == "baichuan2":
            save_baichuan(place, model.state_dict(), config)
        else:
            model.save_pretrained(place)
        answers[name] = {"tokens": tokens[0].tolist(), "logits": logits.tolist()}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
