"""The Python side of the tests of models' files: what transformers makes of them, and GGUF files written with the gguf package.
usage: peer_models.py TASK INPUT OUTPUT"""

import json
import math
import os

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, GenerationConfig

from peer_main import answer


def keys(data):
    """Every setting that transformers and the gguf package know."""
    import gguf
    from transformers.activations import ACT2FN

    def of(cls):
        fields = {name for name in dir(cls) if not name.startswith("__") and not callable(getattr(cls, name, None))}
        return sorted(fields | set(cls().to_dict()))

    def flat(cls):
        return [v for name, v in vars(cls).items() if isinstance(v, str) and not name.startswith("_")] + [
            v for inner in vars(cls).values() if isinstance(inner, type) for v in flat(inner)
        ]

    tensors = [gguf.TENSOR_NAMES[t] for t in gguf.MODEL_TENSORS[gguf.MODEL_ARCH.LLAMA]]
    return {
        "configs": {name: of(CONFIG_MAPPING[name]) for name in data["types"]},
        "activations": sorted(ACT2FN.keys()),
        "generation": sorted(GenerationConfig().to_dict()),
        "gguf": sorted(set(flat(gguf.Keys))),
        "tensors": tensors,
    }


def random_model(config, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).eval()
    with torch.no_grad():
        for p in model.parameters():
            # so large that what is wrong shows; gains and biases are ones and zeros otherwise
            p.add_(torch.randn_like(p) * (0.1 if p.dim() == 1 else 0.2))
    return model


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits.flatten().tolist()


def change(tensors, steps):
    for step, *args in steps:
        if step == "rename":
            tensors = {(args[1] + name[len(args[0]) :] if name.startswith(args[0]) else name): t for name, t in tensors.items()}
        elif step == "drop":
            tensors = {name: t for name, t in tensors.items() if not name.startswith(args[0])}
        elif step == "copy":
            tensors[args[1]] = tensors[args[0]].clone()
        elif step == "random":
            tensors[args[0]] = torch.randn(args[1]) * 0.2
    return tensors


def shards(folder, tensors, spec):
    """Two shards with their index; `spec` names what the index keeps silent about, and files to leave out."""
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        if file not in spec.get("missing", []):
            save_file({name: tensors[name] for name in some}, os.path.join(folder, file), metadata={"format": "pt"})
    index = {name: file for file, some in parts.items() for name in some if name not in spec.get("unlisted", [])}
    json.dump({"metadata": {}, "weight_map": index}, open(os.path.join(folder, "model.safetensors.index.json"), "w"))


def folders(data):
    """Writes models as the cases ask; what transformers makes of each: logits, or why not."""
    results = []
    for case in data["cases"]:
        folder, ids = case["folder"], case["ids"]
        model = random_model(case["config"], case.get("seed", 1))
        model.save_pretrained(folder)
        path = os.path.join(folder, "model.safetensors")
        tensors = change(load_file(path), case.get("tensors", []))
        save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata={"format": "pt"})
        if case.get("pickled"):
            os.rename(path, os.path.join(folder, "pytorch_model.bin"))
        if "shards" in case:
            if not case["shards"].get("whole"):
                os.remove(path)
            shards(folder, tensors, case["shards"])
        at = os.path.join(folder, "config.json")
        config = {**json.load(open(at)), **case.get("json", {})}
        for name in case.get("without", []):
            config.pop(name, None)
        json.dump(config, open(at, "w"))
        try:
            loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            results.append({"logits": logits(loaded, ids)})
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {str(error)[:500]}"})
    return results


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_up_proj": "ffn_up",
}
GGUF_NAMES_OF = {
    "gpt2": {
        "transformer.wte": "token_embd",
        "transformer.wpe": "position_embd",
        "transformer.ln_f": "output_norm",
        "ln_1": "attn_norm",
        "ln_2": "ffn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    },
    **{
        arch: {
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        }
        for arch in ["gemma2", "gemma3"]
    },
}
# Whose files have the halves of each head of q and k interleaved.
INTERLEAVED = ["llama", "mistral", "granite", "smollm3"]


def gguf_name(name, arch):
    names = {**GGUF_NAMES, **GGUF_NAMES_OF.get(arch, {})}
    base, kind = name.rsplit(".", 1)
    if base.startswith(("model.layers.", "transformer.h.")):
        _, _, number, rest = base.split(".", 3)
        return f"blk.{number}.{names[rest]}.{kind}"
    return f"{names[base]}.{kind}"


def interleaved(t, heads):
    """convert_hf_to_gguf.py's permute: the rows of q and k."""
    return t.reshape(heads, 2, t.shape[0] // heads // 2, *t.shape[1:]).swapaxes(1, 2).reshape(t.shape)


def write_gguf(model, case):
    import gguf

    config, arch = model.config, case.get("arch", "llama")
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(case["file"], arch)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if arch == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        rope = config.rope_parameters
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
        if arch not in ["gemma2", "gemma3"]:
            writer.add_rope_dimension_count(head_dim)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    for key, value in case.get("meta", {}).items():
        if type(value) is int and any(part in key for part in ["factor", "beta", "multiplier", "scale"]):
            value = float(value)
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](key, value)
    for key in case.get("omit", []):
        del writer.kv_data[0][key]
    skipped = case.get("skip", [])
    for name, t in model.state_dict().items():
        t = t.float().numpy()
        if arch in ["gemma2", "gemma3"] and name.endswith("norm.weight"):
            t = t + 1
        if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            t = t.T
        permuted = arch in INTERLEAVED
        if permuted and ".q_proj." in name:
            t = interleaved(t, config.num_attention_heads)
        if permuted and ".k_proj." in name:
            t = interleaved(t, config.num_key_value_heads)
        if (name == "lm_head.weight" and config.tie_word_embeddings) or any(part in name for part in skipped):
            continue
        writer.add_tensor(gguf_name(name, arch), np.ascontiguousarray(t))
    for name, values in case.get("add", {}).items():
        writer.add_tensor(name, np.array(values, dtype=np.float32))
    if case.get("llama3"):
        writer.add_tensor("rope_freqs.weight", np.array(llama3_factors(config), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_factors(config):
    """As convert_hf_to_gguf.py makes them."""
    rope, dim = config.rope_parameters, config.head_dim
    factor, low, high, old = (rope[n] for n in ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"])
    factors = []
    for i in range(0, dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / dim)
        if wavelength < old / high:
            factors.append(1)
        elif wavelength > old / low:
            factors.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def ggufs(data):
    """Writes GGUF files of random models as llama.cpp's converter would; the logits of the models themselves."""
    results = []
    for case in data["cases"]:
        model = random_model(case["config"], case.get("seed", 1))
        with torch.no_grad():
            for name, p in model.named_parameters():
                if any(part in name for part in case.get("skip", [])) and name.endswith(".bias"):
                    p.zero_()
        write_gguf(model, case)
        results.append(logits(model, case["ids"]))
    return results


def processed(data):
    """transformers' logits processors on given rows: what is left of each logit, as -inf or its value."""
    model = AutoModelForCausalLM.from_pretrained(data["model"])
    results = []
    for case in data["cases"]:
        ids = torch.tensor([case["tokens"]])
        config, _ = model._prepare_generation_config(GenerationConfig(**case["options"]))
        model._prepare_special_tokens(config, device="cpu")
        config.max_length = case["limit"]
        if config.min_new_tokens is not None:
            config.min_length = config.min_new_tokens + case["prompt"]
        processors = model._get_logits_processor(config, input_ids_seq_length=case["prompt"], encoder_input_ids=ids, device="cpu", model_kwargs={})
        scores = processors(ids, torch.tensor([case["logits"]]))
        results.append([None if v == -math.inf else v for v in scores[0].tolist()])
    return results


def generated(data):
    """Answers of transformers, and the generation_config.json that it saves."""
    results = []
    for case in data["cases"]:
        folder = case["folder"]
        if "save" in case:
            model = AutoModelForCausalLM.from_pretrained(folder)
            model.save_pretrained(case["save"])
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        if "adapter" in case:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, case["adapter"]).eval()
        try:
            ids = torch.tensor([case["prompt"]])
            made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **case.get("options", {}))[0, len(case["prompt"]) :].tolist()
            results.append({"made": made})
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {str(error)[:300]}"})
    return results


def padded(data):
    """Logits of rows with padding, positions counted as generate() counts them."""
    results = []
    for case in data["cases"]:
        ids, mask = torch.tensor(case["ids"]), torch.tensor(case["mask"])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(case["model"]).eval()(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        results.append(logits.flatten().tolist())
    return results


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count())
    answer(globals())
