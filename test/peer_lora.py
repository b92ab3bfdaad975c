"""The Python side of the tests of LoRA's targets, fields and files; called by peer.py."""

import copy
import dataclasses
import json
import os
import re
import warnings

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def logits_of(model, ids):
    with torch.no_grad():
        return model.eval()(torch.tensor(ids)).logits.flatten().tolist()


def lora_fields(data):
    """The fields of PEFT's LoraConfig, and what it writes of one that says nothing."""
    from peft import LoraConfig

    written = LoraConfig(task_type="CAUSAL_LM").to_dict()
    plain = lambda v: sorted(v) if isinstance(v, set) else getattr(v, "value", v)
    return {"fields": [f.name for f in dataclasses.fields(LoraConfig)], "written": {name: plain(v) for name, v in written.items()}}


def lora_matching(data):
    """The modules that PEFT adapts for each config, or its error; and re's answers to [pattern, name] pairs (null: no such pattern)."""
    from peft import LoraConfig, get_peft_model

    model = load(data["model"])
    found = []
    for config in data["configs"]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                peft = get_peft_model(copy.deepcopy(model), LoraConfig(task_type="CAUSAL_LM", **config))
            base = peft.base_model
            ranks = {}
            for name, module in base.model.named_modules():
                if name in base.targeted_module_names:
                    ranks[name] = [module.r["default"], module.scaling["default"]]
            found.append(ranks)
        except Exception as error:
            found.append(str(error)[:500])

    def answer(pattern, name):
        try:
            return re.fullmatch(pattern, name) is not None
        except re.error:
            return None

    return {"found": found, "answers": [answer(p, n) for p, n in data["patterns"]]}


def randomise(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.normal_(0, 0.2)


def lora_saved(data):
    """Adapters as PEFT saves them, with its logits beside the base and merged, what it says, and the tensors of the file."""
    from peft import LoraConfig, PeftModel, get_peft_model

    results = []
    for i, case in enumerate(data["cases"]):
        folder = case["folder"]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            peft = get_peft_model(load(case["model"]), LoraConfig(**{"task_type": "CAUSAL_LM", **case["config"]}))
            first = f"{folder}/first"
            if case.get("convert"):
                peft.peft_config["default"].init_lora_weights = True
                peft.save_pretrained(first)
                peft.peft_config["default"].init_lora_weights = case["config"]["init_lora_weights"]
                with torch.no_grad():
                    for name, p in peft.named_parameters():
                        if "lora_" in name:
                            p.add_(torch.randn_like(p) * 0.2)
            else:
                randomise(peft, i)
            if case.get("table"):  # as if the adapter had been trained beside another table
                torch.manual_seed(99)
                peft.get_input_embeddings().base_layer.weight.data.normal_(0, 0.1)
            logits = logits_of(peft, data["ids"])
            peft.save_pretrained(folder, **({"path_initial_model_for_weight_conversion": first} if case.get("convert") else {}))
        if case.get("dtype"):
            file = f"{folder}/adapter_model.safetensors"
            tensors = {n: t.to(getattr(torch, case["dtype"])) for n, t in load_file(file).items()}
            save_file(tensors, file, metadata={"format": "pt"})
            logits = logits_of(PeftModel.from_pretrained(load(case["model"]), folder), data["ids"])
        results.append({
            "logits": logits,
            "merged": logits_of(peft.merge_and_unload(), data["ids"]) if case.get("merge") else None,
            "shapes": {n: list(t.shape) for n, t in load_file(f"{folder}/adapter_model.safetensors").items()},
            "warnings": [str(w.message) for w in caught],
            "config": json.load(open(os.path.join(folder, "adapter_config.json"))),
        })
    return results


def lora_loaded(data):
    """Our adapters in PEFT: its logits, what it says while it loads them, and the logits of the merged model."""
    from peft import PeftModel

    results = []
    for case in data["cases"]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            peft = PeftModel.from_pretrained(load(case["model"]), case["folder"])
        logits = logits_of(peft, data["ids"])
        # what these versions say of each other is not about ours
        said = [str(w.message) for w in caught if not issubclass(w.category, (FutureWarning, DeprecationWarning))]
        results.append({"logits": logits, "warnings": said})
    return results


TASKS = {t.__name__: t for t in (lora_fields, lora_matching, lora_saved, lora_loaded)}
