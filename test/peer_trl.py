"""What TRL's SFTTrainer does of the same rows, for tests of training. usage: peer_trl.py TASK INPUT OUTPUT"""

import json
import os
import tempfile

import torch
from datasets import Dataset
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from peer_main import answer

QUIET = dict(use_cpu=True, report_to="none", disable_tqdm=True, bf16=False, gradient_checkpointing=False, train_sampling_strategy="sequential")


def train(data):
    """Runs, each with its log and what its last checkpoint looks like."""
    return [trained(case) for case in data["cases"]]


def trained(case):
    model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32)
    if case.get("adapter"):
        model = PeftModel.from_pretrained(model, case["adapter"], is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(case["tokenizer"])
    with tempfile.TemporaryDirectory() as folder:
        args = SFTConfig(folder, **{**QUIET, **case["args"]})
        optimizers = (None, None)
        if case.get("loraplus"):
            more = dict(betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon, loraplus_weight_decay=args.weight_decay)
            optimizers = (create_loraplus_optimizer(model, torch.optim.AdamW, lr=args.learning_rate, **case["loraplus"], **more), None)
        computed = {}
        if case.get("groups"):
            groups = [{"params": [p for n, p in model.named_parameters() if p.requires_grad and n.replace(".default", "") in g["names"]], "lr": g["lr"], "weight_decay": g["weight_decay"]} for g in case["groups"]]
            optimizers = (torch.optim.AdamW(groups, lr=args.learning_rate), None)
        if case.get("metrics"):
            computed["compute_metrics"] = lambda p: {"mean_logit": float(p.predictions[p.label_ids != -100].mean()), "labels": int((p.label_ids != -100).sum())}
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(case["rows"]),
            eval_dataset=Dataset.from_list(case["eval"]) if case.get("eval") else None,
            processing_class=tokenizer,
            optimizers=optimizers,
            **computed,
        )
        decays = trainer.get_decay_parameter_names(trainer.model)
        trainer.train()
        saved = sorted(name for name in os.listdir(folder) if name.startswith("checkpoint-"))
        last = os.path.join(folder, saved[-1]) if saved else None
        state = json.load(open(os.path.join(last, "trainer_state.json"))) if last else None
        return {
            "log": trainer.state.log_history,
            "rows": [row["input_ids"] for row in trainer.train_dataset],
            "decays": [n.replace(".default", "") for n, p in trainer.model.named_parameters() if p.requires_grad and n in decays],
            "files": sorted(os.listdir(last)) if last else None,
            "state": state and {key: type(value).__name__ for key, value in state.items()},
        }


if __name__ == "__main__":
    answer(globals())
