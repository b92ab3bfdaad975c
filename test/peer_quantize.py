"""bitsandbytes' side of the quantisation tests: codes and statistics to the byte, checkpoints, logits."""


# torch sums in the order of one thread.
import torch

torch.set_num_threads(1)
import bitsandbytes.functional as bnb
import numpy as np
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from peer_main import answer


def hexed(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes().hex()


def codes(data):
    """Of every matrix (a file of fp32 or bf16 values) the packed bytes and all statistics by kind, as hex."""
    result = {}
    for name, (file, dtype, columns) in data["matrices"].items():
        if dtype == "bfloat16":
            x = torch.from_numpy(np.fromfile(file, dtype=np.int16)).view(torch.bfloat16).reshape(-1, columns)
        else:
            x = torch.from_numpy(np.fromfile(file, dtype=np.float32)).reshape(-1, columns)
        found = {}
        for kind in ["nf4", "fp4"]:
            for double in [False, True]:
                packed, state = bnb.quantize_4bit(x, quant_type=kind, compress_statistics=double)
                one = {"bytes": hexed(packed), "absmax": hexed(state.absmax), "values": hexed(bnb.dequantize_4bit(packed, state).float())}
                if double:
                    one.update(nested_absmax=hexed(state.state2.absmax), offset=hexed(state.offset.reshape(1)), map=hexed(state.state2.code))
                found[kind + ("_dq" if double else "")] = one
        values, scales, _ = bnb.int8_vectorwise_quant(x.half())
        found["int8"] = {"bytes": hexed(values), "absmax": hexed(scales)}
        result[name] = found
    return result


def plain_cpu(model):
    """Where the CPU has bf16 instructions, bitsandbytes' fused kernel computes in bf16 whatever bnb_4bit_compute_dtype says."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def logits(model, ids):
    with torch.no_grad():
        return plain_cpu(model)(torch.tensor(ids)).logits.flatten().tolist()


def written(data):
    """Packs a 16- or 32-bit model as each config says, saves it, and gives its logits."""
    found = []
    for one in data["cases"]:
        floats = {name: float(value) for name, value in one["config"].items() if name == "llm_int8_threshold"}
        config = BitsAndBytesConfig(**{**one["config"], **floats})
        model = AutoModelForCausalLM.from_pretrained(data["model"], quantization_config=config, dtype=torch.float32, device_map="cpu")
        model.save_pretrained(one["folder"])
        found.append(logits(model, data["ids"]))
    return found


def opened(data):
    """Logits of packed models in folders, and what a second saving of them holds."""
    found = []
    for folder in data["folders"]:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu", output_loading_info=True)
        missing = {key: sorted(map(str, value)) for key, value in info.items() if value and key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        kinds = {name: type(module).__name__ for name, module in model.named_modules() if "Linear" in type(module).__name__}
        found.append({"logits": logits(model, data["ids"]), "wrong": missing, "kinds": kinds})
    return found


def int8_inputs(data):
    """What LLM.int8() makes of a layer's input: values in 8 bits of each row, columns of outliers as they are."""
    found = []
    for one in data["cases"]:
        x = torch.tensor(one["x"], dtype=torch.float32)
        q, scales, outliers = bnb.int8_vectorwise_quant(x.half(), threshold=one["threshold"])
        y = q.float() * (scales[:, None] / 127)
        if outliers is not None and outliers.numel():
            y[:, outliers] = x[:, outliers]
        found.append(y.flatten().tolist())
    return found


if __name__ == "__main__":
    answer(globals())
