"""Compares our import of a GGUF file with transformers' own: every tensor, the sizes, and the ids of much text.

gguf_import.py DIRECTORY GGUF [TEXTS]: DIRECTORY is our import; TEXTS a folder of text files.

The tokenizers may differ in one known way. For SmolLM's files transformers leaves out that digits are cut off one by
one before words are (pre-tokenizer "smollm"); the model was trained with it, and llama.cpp does it. So the same rule
is put before transformers' tokenizer here. Sentence-piece texts that begin with a space are left out, because
transformers gives them one space fewer than SentencePiece and llama.cpp.
"""

import json
import sys
from pathlib import Path

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

directory, gguf = Path(sys.argv[1]), Path(sys.argv[2])
ours = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)

tensors, expected = ours.state_dict(), theirs.state_dict()
assert tensors.keys() == expected.keys(), tensors.keys() ^ expected.keys()
for name, tensor in expected.items():
    assert torch.equal(tensors[name], tensor), f"{name} differs"

# Those were dequantised by transformers, which calls the gguf package; the parts it does not reorder, once more.
reader = GGUFReader(gguf)
plain = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
for layer in range(ours.config.num_hidden_layers):
    for part, name in {"attn_v": "self_attn.v_proj", "ffn_down": "mlp.down_proj", "ffn_up": "mlp.up_proj"}.items():
        plain[f"blk.{layer}.{part}.weight"] = f"model.layers.{layer}.{name}.weight"
for tensor in reader.tensors:
    if tensor.name in plain:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
        assert torch.equal(tensors[plain[tensor.name]], values), f"{tensor.name} differs from the gguf package"

# The float is the same in the precision the file has it in.
mine, other = ours.config.to_dict(), theirs.config.to_dict()
mine["rms_norm_eps"] = torch.tensor(mine["rms_norm_eps"], dtype=torch.float32).item()
keys = """model_type hidden_act hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
    head_dim vocab_size max_position_embeddings rms_norm_eps rope_parameters tie_word_embeddings attention_bias mlp_bias
    eos_token_id pad_token_id""".split()
different = {key: (mine.get(key), other.get(key)) for key in keys if mine.get(key) != other.get(key)}
assert not different, different

tokenizer = AutoTokenizer.from_pretrained(directory)
reference = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
fields = reader.fields
kind = fields["tokenizer.ggml.model"].contents()
if "tokenizer.ggml.pre" in fields and fields["tokenizer.ggml.pre"].contents() == "smollm":
    digits = pre_tokenizers.Digits(individual_digits=True)
    rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    reference.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
texts = [
    "Hello world, it's a test: don't WE'LL.",
    "a 12  34   567 3.14e-7 \u0663\u0664 \u00bd \u2167",
    "def f(x):\n\treturn [x ** 2\n        for x in range(10)]  # code\r\n\r\n\r\n",
    "caf\u00e9 e\u0301 \u4f60\u597d\uff0c\u4e16\u754c \ud55c\uae00 \u0639\u0631\u0628\u064a \u00a0x\u3000y",
    "\U0001f600\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2192 \u221e",
    "x   \t  \n  \n\n tail   ",
]
for file in sorted(Path(sys.argv[3]).glob("*/*")) if len(sys.argv) > 3 and sys.argv[3] else []:
    text = file.read_text(errors="replace")[:200_000]
    texts += [text[at : at + 2000] for at in range(0, len(text), 2000)]
texts = [text.lstrip(" ") if kind == "llama" else text for text in texts]
for text in texts:
    found, wanted = tokenizer(text)["input_ids"], reference(text)["input_ids"]
    assert found == wanted, f"{text!r}: {found} but {wanted}"
    decoded = tokenizer.decode(found, skip_special_tokens=True)
    assert decoded == reference.decode(wanted, skip_special_tokens=True), decoded
chat = [{"role": "user", "content": "Hi"}]
if reference.chat_template:
    assert tokenizer.apply_chat_template(chat, tokenize=False) == reference.apply_chat_template(chat, tokenize=False)
print(json.dumps({"tensors": len(reader.tensors), "texts": len(texts)}))
