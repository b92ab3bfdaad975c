"""Answers of transformers and PEFT to rows of prompts: batches, beams, stop strings, adapters by row."""

import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from peer_main import answer


def new_tokens(row, width, pad):
    made = row[width:].tolist()
    while made and made[-1] == pad:
        made.pop()
    return made


def answers(data):
    """Rows are padded on the left with a token that is never written."""
    pad = data["pad"]
    models, results = {}, []
    for case in data["cases"]:
        key = (case["folder"], json.dumps(case.get("adapters")))
        if key not in models:
            model = AutoModelForCausalLM.from_pretrained(case["folder"], dtype=torch.float32, **case.get("load", {})).eval()
            for name, folder in (case.get("adapters") or {}).items():
                from peft import PeftModel

                if isinstance(model, PeftModel):
                    model.load_adapter(folder, adapter_name=name)
                else:
                    model = PeftModel.from_pretrained(model, folder, adapter_name=name).eval()
            models[key] = model
        model = models[key]
        options = dict(case.get("options", {}))
        if "stop_strings" in options:
            options["tokenizer"] = AutoTokenizer.from_pretrained(data["tokenizer"])
        rows = case["prompts"]
        width = max(map(len, rows))
        ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows])
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        with torch.no_grad():
            made = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=pad, **options)
        results.append([new_tokens(row, width, pad) for row in made])
    return results


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count())
    answer(globals())
