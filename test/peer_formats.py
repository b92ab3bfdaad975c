"""The Python side of the tests of file formats: safetensors, GGUF, parquet, as Python's own packages write and read them."""
import glob
import json
import os

import numpy as np
import torch

from peer_main import answer


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


def permuted(t, heads):
    """convert_hf_to_gguf.py's order of the rows of q and k."""
    return t.reshape(heads, 2, t.shape[0] // heads // 2, *t.shape[1:]).swapaxes(1, 2).reshape(t.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def lora_tensors(folder):
    """The tensors that convert_lora_to_gguf.py makes of an adapter of a Llama."""
    from safetensors.numpy import load_file

    config = json.load(open(f"{folder}/adapter_config.json"))
    made = {}
    for name, t in load_file(f"{folder}/adapter_model.safetensors").items():
        _, _, _, _, block, *module, half, _ = name.split(".")
        half = half[-1].lower()
        heads = {"q_proj": 4, "k_proj": 2}.get(module[-1])
        made[f"blk.{block}.{NAMES['.'.join(module)]}.weight.lora_{half}"] = permuted(t, heads) if half == "b" and heads else t
    return made, config["lora_alpha"]


def gguf_lora(data):
    """Reads what the other side has written and says how far it is from convert_lora_to_gguf.py's; writes one as that does."""
    import gguf

    made, alpha = lora_tensors(data["adapter"])
    reader = gguf.GGUFReader(data["ours"])
    field = lambda key: reader.fields[key].contents()
    ours = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    writer = gguf.GGUFWriter(data["theirs"], "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    for name, t in made.items():
        writer.add_tensor(name, np.ascontiguousarray(t.astype(np.float16 if data.get("half") else np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {
        "names": sorted(ours) == sorted(made),
        "worst": max(float(np.abs(ours[n] - made[n]).max()) for n in made),
        "fields": {k: field(k) for k in ["general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"]},
    }


def gguf_split(data):
    """Writes a GGUF file again in parts, by gguf's own writer; returns the names of the parts."""
    import gguf

    reader = gguf.GGUFReader(data["path"])
    arch = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(data["to"], arch, split_max_tensors=data["tensors"])
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        value = field.contents()
        if value != []:  # which gguf's writer has no way to write
            writer.add_key_value(field.name, value, kind, sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(os.path.basename(p) for p in glob.glob(os.path.splitext(data["to"])[0] + "-*"))


def rows(data):
    """Parquet files of several compressions and types, and what datasets reads of files and folders."""
    import datasets
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    datasets.disable_progress_bars()
    folder = data["folder"]
    n = 500
    table = pa.table(
        {
            "text": [f"row {i} ü漢🙂" * (i % 3) for i in range(n)],
            "label": pa.array([i % 5 for i in range(n)], pa.int64()),
            "score": pa.array([i / 7 if i % 11 else None for i in range(n)], pa.float64()),
            "half": pa.array([i / 4 for i in range(n)], pa.float32()),
            "flag": [bool(i % 2) for i in range(n)],
            "messages": [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(n)],
            "tags": [[f"t{j}" for j in range(i % 4)] for i in range(n)],
            "kind": pa.array([["a", "b", None][i % 3] for i in range(n)]).dictionary_encode(),
        }
    )
    for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
        pq.write_table(table, f"{folder}/{codec}.parquet", compression=codec, row_group_size=200, data_page_version="2.0" if codec == "zstd" else "1.0")
    result = {"table": table.to_pylist(), "loads": []}
    for how in data["loads"]:
        options = dict(how["options"])
        cache = f"{folder}/cache"
        try:
            got = datasets.load_dataset(how["path"], cache_dir=cache, **options)
            got = {options["split"]: got} if "split" in options else got
            result["loads"].append({split: [{k: None if isinstance(v, float) and v != v else v for k, v in row.items()} for row in rows] for split, rows in got.items()})
        except Exception as error:
            result["loads"].append({"error": f"{type(error).__name__}: {str(error)[:200]}"})
    return result


TASKS = {"rows": rows, "gguf_lora": gguf_lora, "gguf_split": gguf_split, "safetensors": safetensors_files, "shards": shards}

if __name__ == "__main__":
    answer(TASKS)
