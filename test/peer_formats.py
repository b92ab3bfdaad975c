"""The Python side of the tests of file formats: safetensors, GGUF, parquet, as Python's own packages write and read them."""
import json
import os
import sys

import numpy as np
import torch


def safetensors_files(data):
    """Writes a file of every type with torch, and reads and rewrites what the other side has written."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    folder = data["folder"]
    if not data.get("back"):
        g = torch.Generator().manual_seed(3)
        types = ["bool", "uint8", "int8", "float8_e5m2", "float8_e4m3fn", "int16", "uint16", "float16", "bfloat16", "int32", "uint32", "float32", "float64", "int64", "uint64", "complex64"]
        tensors = {}
        for i, name in enumerate(types):
            dtype = getattr(torch, name)
            values = torch.randint(0, 100, (3, i + 1), generator=g)
            if "int" not in name and name != "bool":
                values = torch.randn(3, i + 1, generator=g)
            tensors[f"layer.{i % 3}.{name}"] = values.to(dtype)
        tensors["empty"] = torch.zeros(0, 4)
        tensors["scalar"] = torch.tensor(2.5)
        tensors["ünïcode"] = torch.ones(2)
        save_file(tensors, f"{folder}/theirs.safetensors", metadata={"format": "pt"})
        save_file(tensors, f"{folder}/plain.safetensors")
        return {"floats": {k: v.float().flatten().tolist() for k, v in tensors.items() if "float" in k}}
    rewritten = {}
    for path in data["files"]:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(load_file(path), f"{path}.again", metadata=metadata)
        rewritten[path] = f"{path}.again"
    return rewritten


def shards(data):
    """Splits a model into shards as transformers does, and loads what the other side has split."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(data["model"])
    model.save_pretrained(data["theirs"], max_shard_size=data["size"])
    _, info = AutoModelForCausalLM.from_pretrained(data["ours"], output_loading_info=True)
    same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), AutoModelForCausalLM.from_pretrained(data["ours"]).state_dict().values()))
    return {"same": same, "missing": sorted(info["missing_keys"]), "unexpected": sorted(info["unexpected_keys"])}


TASKS = {"safetensors": safetensors_files, "shards": shards}

if __name__ == "__main__":
    task, source, target = sys.argv[1:]
    json.dump(TASKS[task](json.load(open(source))), open(target, "w"))
