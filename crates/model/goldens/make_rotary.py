"""Rotary frequencies by transformers, for the unit test in src/rotary.rs. Run: python make_rotary.py > rotary.json"""

import json

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

BASE = dict(model_type="llama", hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=320, max_position_embeddings=2048, rope_theta=10000.0)
CASES = [
    (None, 128),
    ({"rope_type": "linear", "factor": 4.0}, 128),
    ({"rope_type": "dynamic", "factor": 2.0}, 128),
    ({"rope_type": "dynamic", "factor": 2.0}, 5000),
    ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 512}, 128),
    ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}, 128),
    ({"rope_type": "yarn", "factor": 16.0, "beta_fast": 24.0, "beta_slow": 2.0,
      "original_max_position_embeddings": 512}, 128),
]


def frequencies(scaling, length):
    config = dict(BASE, rope_scaling=scaling)
    hf = LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"})
    kind = scaling["rope_type"] if scaling else "default"
    if kind == "default":
        dim = BASE["hidden_size"] // BASE["num_attention_heads"]
        found = 1.0 / (BASE["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim))
        factor = 1.0
    else:
        found, factor = ROPE_INIT_FUNCTIONS[kind](hf, torch.device("cpu"), seq_len=length)
    return dict(config=config, length=length, frequencies=found.double().tolist(), attention_factor=float(factor))


print(json.dumps([frequencies(*case) for case in CASES], indent=0))
