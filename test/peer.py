"""The Python side of the interop tests: transformers and PEFT on the same files. usage: peer.py TASK INPUT OUTPUT"""

import json
import os
import warnings

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from peer_lora import TASKS
from peer_main import answer


def load(path, dtype=torch.float32, auto="AutoModelForCausalLM"):
    if path.endswith(".gguf"):
        folder, file = os.path.split(path)
        return AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=dtype)
    return getattr(transformers, auto).from_pretrained(path, dtype=dtype)


def smol(data):
    """Largest difference of logits (ours are in a file), and greedy continuations with the margin of each step."""
    model = load(data["model"]).eval()
    rows = []
    for row in data["rows"]:
        ids = torch.tensor([row["ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0].numpy()
            ours = np.fromfile(row["logits"], dtype=np.float32).reshape(logits.shape)
            made, margins = [], []
            past, step = None, ids
            for _ in range(data.get("steps", 64)):
                out = model(step, past_key_values=past, use_cache=True)
                past = out.past_key_values
                best = out.logits[0, -1].topk(2)
                made.append(int(best.indices[0]))
                margins.append(float(best.values[0] - best.values[1]))
                step = best.indices[:1].view(1, 1)
        rows.append({"difference": float(np.abs(ours - logits).max()), "made": made, "margins": margins})
    return rows


def tiny(data):
    """Random models of an architecture in folders, with their logits on given ids."""
    result = []
    for case in data["cases"]:
        torch.manual_seed(case["seed"])
        config = AutoConfig.for_model(**case["config"])
        model = AutoModelForCausalLM.from_config(config).eval()
        # random biases and gains, which are zeros and ones otherwise
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.dim() == 1:
                    p.add_(torch.randn_like(p) * 0.1)
            logits = model(torch.tensor(case["ids"])).logits
        model.save_pretrained(case["folder"])
        result.append(logits.flatten().tolist())
    return result


def tokens(data):
    """A tokenizer that tunebook saved: ids, texts and chats. What transformers itself makes of a GGUF file is not always right."""
    tokenizer = AutoTokenizer.from_pretrained(data["saved"])
    return {
        "ids": [tokenizer(text, add_special_tokens=True)["input_ids"] for text in data["texts"]],
        "decoded": [tokenizer.decode(ids) for ids in data["decode"]],
        "chats": [tokenizer.apply_chat_template(m, add_generation_prompt=g, tokenize=True, return_dict=False) for m in data["chats"] for g in (False, True)],
    }


def batch_loss(model, batch):
    if "classes" in batch:
        return model(torch.tensor(batch["ids"]), attention_mask=torch.tensor(batch["mask"]), labels=torch.tensor(batch["classes"])).loss
    ids, labels = torch.tensor(batch["ids"]), torch.tensor(batch["labels"])
    logits = model(ids, attention_mask=torch.tensor(batch["mask"])).logits.float()[:, -ids.shape[1] :]  # a learned prompt has some too
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


class FrozenLinear(torch.autograd.Function):
    """x w^T, with the transpose at hand for the backward pass: torch's other bf16 loop takes 20 times as long on CPUs without bf16."""

    @staticmethod
    def forward(ctx, x, weight, transposed):
        ctx.transposed = transposed
        return x.to(weight.dtype) @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        return grad @ ctx.transposed.t(), None, None


def quicken(model):
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.bias is None and not module.weight.requires_grad:
            transposed = module.weight.detach().t().contiguous()
            module.forward = lambda x, w=module.weight, t=transposed: FrozenLinear.apply(x, w, t)


def orthogonality(model, batch):
    """What AdaLoRA adds to the loss: PEFT does so where it is given labels."""
    if not hasattr(model, "base_model") or not hasattr(model.base_model, "update_and_allocate"):
        return 0
    ids, labels = torch.tensor(batch["ids"]), torch.tensor(batch["labels"])
    mask = torch.tensor(batch["mask"])
    return model(ids, attention_mask=mask, labels=labels).loss - batch_loss(model, batch)


def train(data):
    """Trains the given adapter, or without one the whole model, on the given batches with torch's AdamW; losses, gradient norms,
    evaluation loss."""
    from peft import PeftConfig, PeftModel

    model = load(data["model"], getattr(torch, data["dtype"]), data.get("auto", "AutoModelForCausalLM"))
    if data["adapter"]:
        prompt = PeftConfig.from_pretrained(data["adapter"]).is_prompt_learning
        model = PeftModel.from_pretrained(model, data["adapter"], is_trainable=not prompt)
        if prompt:  # PEFT loads those frozen
            for name, p in model.named_parameters():
                p.requires_grad_("prompt_encoder" in name or "modules_to_save" in name)
    if data["dtype"] != "float32":
        for p in model.parameters():
            if p.requires_grad:
                p.data = p.data.float()
        quicken(model)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    # as transformers' Trainer: biases and norms do not decay
    decay = data["weight_decay"]
    groups = [{"params": [p for p in parameters if (p.dim() > 1) == wide], "weight_decay": decay * wide} for wide in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=data["lr"], betas=(0.9, 0.999), eps=1e-8)
    losses, norms = [], []
    for step, batch in enumerate(data["batches"]):
        for group in optimizer.param_groups:
            group["lr"] = data["rates"][step]
        optimizer.zero_grad()
        loss = batch_loss(model, batch) + orthogonality(model, batch)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, data["max_grad_norm"])))
        optimizer.step()
        if hasattr(model, "base_model") and hasattr(model.base_model, "update_and_allocate"):
            model.base_model.update_and_allocate(step)
        losses.append(loss.item())
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in data["eval"]:
            n = len(batch["classes"]) if "classes" in batch else sum(label != -100 for row in batch["labels"] for label in row[1:])
            total += batch_loss(model, batch).item() * n
            count += n
    if "saved" in data:
        model.save_pretrained(data["saved"])
    return {"losses": losses, "norms": norms, "eval_loss": total / count if count else None}


def trainings(data):
    return [train(case) for case in data["cases"]]


def optimizers(data):
    """Parameters after some steps of the optimizers that transformers makes of these names (without 8 bits: of which bitsandbytes has
    no steps on a CPU); gradients of every second step count half, as clipped."""
    from transformers import Trainer, TrainingArguments

    result = {}
    for name in data["names"]:
        bare, _, given = name.partition("?")
        whole = bare.replace("_bnb_8bit", "_torch").replace("adamw_8bit", "adamw_torch").replace("_8bit", "_32bit")
        args = TrainingArguments(
            "unused", optim=whole, optim_args=given or None, learning_rate=data["lr"], weight_decay=data["weight_decay"], use_cpu=True
        )
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args)
        values = {n: torch.nn.Parameter(torch.tensor(data["start"][n]).reshape(shape)) for n, shape in data["shapes"].items()}
        groups = [
            {"params": [p for p in values.values() if (p.dim() > 1) == wide], "weight_decay": data["weight_decay"] * wide}
            for wide in (True, False)
        ]
        optimizer = kind(groups, **options)
        for step, gradients in enumerate(data["gradients"], 1):
            for group in optimizer.param_groups:
                group["lr"] = data["lr"] / step
            for n, p in values.items():
                p.grad = torch.tensor(gradients[n]).reshape(p.shape) * (1 if step % 2 else 0.5)
            optimizer.step()
        result[name] = {n: p.detach().flatten().tolist() for n, p in values.items()}
    return result


def saved(data):
    """Logits of a model that tunebook saved."""
    kind = getattr(transformers, data.get("auto", "AutoModelForCausalLM"))
    model, info = kind.from_pretrained(data["model"], dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), f"{data['model']}: {info}"  # missing, unexpected, of other shapes
    if "adapter" in data:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, data["adapter"])
    with torch.no_grad():
        return model.eval()(torch.tensor(data["ids"])).logits.flatten().tolist()


def resaved(data):
    return [saved(case) for case in data["cases"]]


def adapters(data):
    """Loads an adapter of ours (any warning counts), and saves one of PEFT's; logits of both."""
    from peft import LoraConfig, PeftModel, get_peft_model

    ids = torch.tensor(data["ids"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = PeftModel.from_pretrained(load(data["model"]), data["ours"]).eval()
    with torch.no_grad():
        logits = ours(ids).logits.flatten().tolist()
    torch.manual_seed(1)
    theirs = get_peft_model(load(data["model"]), LoraConfig(**data["config"])).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.2)
        their_logits = theirs(ids).logits.flatten().tolist()
    theirs.save_pretrained(data["theirs"])
    with warnings.catch_warnings(record=True) as usual:
        warnings.simplefilter("always")
        PeftModel.from_pretrained(load(data["model"]), data["theirs"])
    # what these versions say of an adapter of their own is not about ours
    usual = {str(w.message) for w in usual}
    trainable, total = theirs.get_nb_trainable_parameters()
    return {
        "logits": logits,
        "warnings": [str(w.message) for w in caught if str(w.message) not in usual],
        "their_logits": their_logits,
        "printed": f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {100 * trainable / total:.4f}",
        "config_keys": sorted(json.load(open(os.path.join(data["theirs"], "adapter_config.json")))),
    }


def board(data):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(data["folder"])
    events.Reload()
    return {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def spectra(data):
    """Singular values of B A from the dense product, and overlaps of spans, for pairs of saved adapters."""
    from safetensors.numpy import load_file

    def pairs(folder):
        tensors = load_file(f"{folder}/adapter_model.safetensors")
        names = sorted(n[: -len(".lora_A.weight")] for n in tensors if n.endswith(".lora_A.weight"))
        return {n: (tensors[f"{n}.lora_A.weight"].astype("float64"), tensors[f"{n}.lora_B.weight"].astype("float64")) for n in names}

    first, second = pairs(data["folder"]), pairs(data["other"])
    found = {}
    for name, (a, b) in first.items():
        a2, b2 = second[name]
        span = lambda m: (lambda u, s, _: u[:, s > s[0] * 1e-7] if s[0] > 0 else u[:, :0])(*np.linalg.svd(m, full_matrices=False))
        share = lambda x, y: float(np.sum((x.T @ y) ** 2) / max(1, min(x.shape[1], y.shape[1])))
        found[name.removeprefix("base_model.model.")] = {
            "sigma": np.linalg.svd(b @ a, compute_uv=False)[: a.shape[0]].tolist(),
            "reads": share(span(a.T), span(a2.T)),
            "writes": share(span(b), span(b2)),
        }
    return found


def gguf_packed(data):
    """Matrices in fp32 as GGUF's types pack them (hex), and what those unpack to. What the gguf package only unpacks, llama.cpp's own library packs."""
    import ctypes

    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

    ggml = ctypes.CDLL(data["ggml"])
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def pack(x, kind):
        if not kind.name.endswith("_K"):
            return quants.quantize(x, kind)
        values, size = GGML_QUANT_SIZES[kind]
        packed = np.empty((x.shape[0], x.shape[1] // values * size), dtype=np.uint8)
        ggml.ggml_quantize_chunk(kind.value, x.ctypes.data, packed.ctypes.data, 0, *x.shape, None)
        return packed

    result = {}
    for name, path in data["matrices"].items():
        x = np.fromfile(path, dtype=np.float32).reshape(-1, data["columns"])
        result[name] = {}
        for kind in data["kinds"]:
            packed = pack(x, GGMLQuantizationType[kind])
            result[name][kind] = {
                "bytes": packed.tobytes().hex(),
                "values": quants.dequantize(packed, GGMLQuantizationType[kind]).flatten().tolist(),
            }
    return result


def quantized(data):
    """What bitsandbytes makes of matrices, and the logits of a model loaded with it."""
    import bitsandbytes.functional as bnb
    from transformers import BitsAndBytesConfig

    def four_bit(kind, double):
        def run(x):
            packed, state = bnb.quantize_4bit(x, quant_type=kind, compress_statistics=double)
            return bnb.dequantize_4bit(packed, state)

        return run

    def int8(x):
        codes, scales, _ = bnb.int8_vectorwise_quant(x.half())
        return codes.float() * (scales[:, None] / 127)

    kinds = {"nf4": four_bit("nf4", False), "fp4": four_bit("fp4", False), "nf4, double": four_bit("nf4", True), "int8": int8}
    matrices = {}
    for name, file in data["matrices"].items():
        x = torch.from_numpy(np.fromfile(file, dtype=np.float32).reshape(-1, data["columns"]))
        matrices[name] = {kind: quantize(x).flatten().tolist() for kind, quantize in kinds.items()}
    logits = {}
    for kind in ["nf4", "fp4"]:
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=torch.float32)
        model = AutoModelForCausalLM.from_pretrained(data["model"], quantization_config=config, dtype=torch.float32, device_map="cpu")
        # Where the CPU has bf16 instructions, its fused kernel computes in bf16 whatever bnb_4bit_compute_dtype says.
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        with torch.no_grad():
            logits[kind] = model(torch.tensor(data["ids"])).logits.flatten().tolist()
    return {"matrices": matrices, "logits": logits}


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count())
    answer({**globals(), **TASKS})
