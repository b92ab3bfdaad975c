"""The Python side of the tests of resized models: transformers and PEFT. usage: peer_resize.py TASK INPUT OUTPUT"""

import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from peer_main import answer


def load(path):
    model, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), f"{path}: {info}"
    return model.eval()


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits.flatten().tolist()


def begin(data):
    """Random models in folders; their tables resized by transformers, and adapters of PEFT beside them."""
    results = []
    for case in data["cases"]:
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**case["config"])).eval()
        model.save_pretrained(case["folder"])
        model = load(case["folder"])
        model.resize_token_embeddings(case["rows"])
        rows = [m.weight.flatten().tolist() for m in [model.get_input_embeddings(), model.get_output_embeddings()]]
        peft = get_peft_model(model, LoraConfig(target_modules=case["targets"], init_lora_weights=False))
        peft.save_pretrained(case["theirs"])
        results.append({"rows": rows, "vocab_size": model.config.vocab_size, "logits": logits(peft.eval(), data["ids"])})
    return results


def end(data):
    """Logits of models that were resized here, and of adapters that were saved beside them."""
    results = []
    for case in data["cases"]:
        model = load(case["folder"])
        model.resize_token_embeddings(case["rows"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            peft = PeftModel.from_pretrained(model, case["ours"]).eval()
        # What PEFT asks transformers for under an old name is no word about the files.
        told = [str(w.message) for w in caught if not issubclass(w.category, (DeprecationWarning, FutureWarning))]
        results.append({"resized": logits(load(case["resized"]), data["ids"]), "adapted": logits(peft, data["ids"]), "warnings": told})
    return results


if __name__ == "__main__":
    answer(globals())
