"""The Python side of the tests of PEFT methods. usage: peer_methods.py TASK INPUT OUTPUT"""

import warnings

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from peer_main import answer


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def logits_of(model, ids):
    with torch.no_grad():
        # of the tokens that were given; a learned prompt has logits too
        return model.eval()(torch.tensor(ids)).logits[:, -len(ids[0]) :].flatten().tolist()


def methods_saved(data):
    """Adapters of each config as PEFT makes, moves and saves them: its logits beside the base and merged (where it merges), the
    shapes in the file, and what the method adapts in models of some types when target_modules is not given."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel, get_peft_model
    from peft.utils import constants

    results = []
    for i, case in enumerate(data["cases"]):
        config = dict(case["config"])
        usual = getattr(constants, f"TRANSFORMERS_MODELS_TO_{config['peft_type'].replace('_', '')}_TARGET_MODULES_MAPPING", {})
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[config.pop("peft_type")]
        peft = get_peft_model(load(case["model"]), kind(task_type="CAUSAL_LM", **config))
        torch.manual_seed(i)
        with torch.no_grad():
            for p in peft.parameters():
                if p.requires_grad:
                    p.add_(torch.randn_like(p) * 0.2)
        logits = logits_of(peft, data["ids"])
        peft.save_pretrained(case["folder"])
        again = PeftModel.from_pretrained(load(case["model"]), case["folder"])
        results.append({
            "logits": logits,
            "again": logits_of(again, data["ids"]),
            "merged": None if case["unmergeable"] else logits_of(again.merge_and_unload(), data["ids"]),
            "usual": {t: list(usual[t]) for t in data["types"] if t in usual},
            "shapes": {n: list(t.shape) for n, t in load_file(f"{case['folder']}/adapter_model.safetensors").items()},
        })
    return results


def said(make):
    """What `make` makes, and the warnings while it does."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
    return made, [str(w.message) for w in caught if not issubclass(w.category, (FutureWarning, DeprecationWarning))]


def methods_loaded(data):
    """Our adapters in PEFT: its logits, and what it says while it loads them that it does not say of a fresh one of its own."""
    from peft import PeftConfig, PeftModel, get_peft_model

    results = []
    for case in data["cases"]:
        peft, words = said(lambda: PeftModel.from_pretrained(load(case["model"]), case["folder"]))
        _, own = said(lambda: get_peft_model(load(case["model"]), PeftConfig.from_pretrained(case["folder"])))
        results.append({"logits": logits_of(peft, data["ids"]), "warnings": [text for text in words if text not in own]})
    return results


class Mask(torch.nn.Module):
    """Dropout by a mask that was drawn elsewhere."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, x):
        return x * self.values.reshape(x.shape)


def dora_dropped(data):
    """DoRA adapters that drop inputs by given masks: logits of a pass that trains, and the gradients of half the sum of their squares."""
    from peft import PeftModel

    results = []
    for case in data["cases"]:
        peft = PeftModel.from_pretrained(load(case["model"]), case["folder"], is_trainable=True).train()
        for path, values in case["masks"].items():
            peft.base_model.model.get_submodule(path).lora_dropout["default"] = Mask(values)
        logits = peft(torch.tensor(data["ids"])).logits
        (logits.square().sum() / 2).backward()
        trained = {n: p.grad for n, p in peft.named_parameters() if p.requires_grad}
        saved = {n.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector"): g for n, g in trained.items()}
        results.append({
            "logits": logits.flatten().tolist(),
            "gradients": {n: gradient.flatten().tolist() for n, gradient in saved.items()},
        })
    return results


def combined(data):
    """Logits of two LoRA adapters that PEFT works into one in several ways, and of a LoHa adapter that it makes LoRA of."""
    from peft import PeftModel, convert_to_lora, set_peft_model_state_dict, get_peft_model

    peft = PeftModel.from_pretrained(load(data["model"]), data["one"], adapter_name="one")
    for name in ("two", "ranked", "ranked_too"):
        peft.load_adapter(data[name], name)
    results = {"combined": [], "converted": []}
    for i, (weights, options, names) in enumerate(data["cases"]):
        peft.add_weighted_adapter(names, weights, f"both{i}", **options)
        peft.set_adapter(f"both{i}")
        results["combined"].append(logits_of(peft, data["ids"]))
    again = PeftModel.from_pretrained(load(data["model"]), data["saved"])
    results["again"] = logits_of(again, data["ids"])
    for rank in (3, 0.8):
        other = PeftModel.from_pretrained(load(data["model"]), data["loha"])
        config, tensors = convert_to_lora(other, rank)
        lora = get_peft_model(load(data["model"]), config)
        set_peft_model_state_dict(lora, tensors)
        results["converted"].append(logits_of(lora, data["ids"]))
    return results


if __name__ == "__main__":
    answer(globals())
