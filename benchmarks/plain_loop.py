"""The reference for hf-pipeline: what anybody would write with transformers, without a pipeline and without InfPop."""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(model_directory: str, prompts_file: str, batch_size: int, new_tokens: int, repeats: int) -> None:
    """Print the median tokens/s of `repeats` passes over the prompts, longest batches last, after one warm-up batch."""
    tokenizer = AutoTokenizer.from_pretrained(model_directory, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(model_directory, dtype="auto").eval()
    prompts = [json.loads(line)["prompt"] for line in Path(prompts_file).read_text().splitlines()]
    prompts.sort(key=lambda text: len(tokenizer(text)["input_ids"]))
    batches = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]

    def generate(batch: list[str]) -> int:
        inputs = tokenizer(batch, return_tensors="pt", padding=True)
        limits = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
        output = model.generate(**inputs, **limits, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        return (output.shape[1] - inputs["input_ids"].shape[1]) * output.shape[0]

    with torch.inference_mode():
        generate(batches[-1])
        rates = []
        for _ in range(repeats):
            start = time.perf_counter()
            tokens = sum(generate(batch) for batch in batches)
            rates.append(tokens / (time.perf_counter() - start))
    print(json.dumps({"tokens_per_second": statistics.median(rates)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:6]))
