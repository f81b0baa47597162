"""Small random models of every family, saved as transformers saves them, and their logits for the same tokens.

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
}


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
            logits = model(tokens).logits[0]
        place = pathlib.Path(sys.argv[1], name)
        model.save_pretrained(place)
        answers[name] = {"tokens": tokens[0].tolist(), "logits": logits.tolist()}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
