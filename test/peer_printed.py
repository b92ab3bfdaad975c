"""What transformers, PEFT and tokenizers print and give, for test/interop/printed.test.ts."""


import peft
import transformers

from peer_main import answer


def models(data):
    """Saves models with random weights and says how each is printed, also with an adapter."""
    out = []
    for case in data["cases"]:
        settings = dict(case["config"])
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
        task = case.get("task", "CAUSAL_LM")
        auto = transformers.AutoModelForSequenceClassification if task == "SEQ_CLS" else transformers.AutoModelForCausalLM
        model = auto.from_config(config)
        model.save_pretrained(case["folder"])
        said = {"model": str(model)}
        if case.get("adapter"):
            kind, options = case["adapter"]
            said["adapter"] = str(peft.get_peft_model(model, getattr(peft, kind)(**options, task_type=task)))
        out.append(said)
    return out


def encoded(data):
    """What a call of the tokenizer gives."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(data["folder"])
    out = []
    for call in data["calls"]:
        for name, value in call["sides"].items():
            setattr(tokenizer, name, value)
        made = tokenizer(call["text"], **call["options"])
        out.append({name: made[name] for name in ("input_ids", "attention_mask")})
    return out


if __name__ == "__main__":
    answer(globals())
