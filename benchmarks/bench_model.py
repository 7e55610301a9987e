"""Create the model of the fidelity benchmark: the tiny Llama's tokenizer with more layers.

With the tiny model itself, the scheduler and Python code around the model dominate on a CPU, and a ratio of two
harnesses would compare their overheads instead of their measurements. It is small enough that a pass takes about a
second of one core, and single precision, because some CPUs multiply bfloat16 five times slower.
"""

import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM


def make(directory: Path) -> None:
    """Write the model to `directory`: 4 million random weights in single precision, 4 layers, 8 attention heads."""
    subprocess.run([sys.executable, "-m", "infpop_runner.engines.tiny_model", str(directory)], check=True)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
