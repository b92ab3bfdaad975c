"""bitsandbytes' side of `npm run bench -- quantize`: 1 GB of bf16 values to NF4 with double quantisation on the CPU."""

import json
import os
import time

import bitsandbytes.functional as bnb
import torch

torch.set_num_threads(len(os.sched_getaffinity(0)))
rows, columns = 11008, 4096
x = (torch.randn(rows, columns) * 0.02).to(torch.bfloat16)
bnb.quantize_4bit(x[:64], quant_type="nf4", compress_statistics=True)
start = time.time()
count = 3
for _ in range(count):
    bnb.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
seconds = time.time() - start
print(json.dumps({"gigabytesPerSecond": count * rows * columns * 2 / 1e9 / seconds, "seconds": seconds}))
