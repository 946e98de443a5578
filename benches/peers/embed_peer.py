"""sentence-transformers as a peer: one side of `hearth-benches embed`.

Prints one JSON line when the model is loaded, then answers `{"op": "embed", "texts": [...]}` (all texts in one call, best batch size of its
own choosing) with `{"ms": ..., "embeddings": [...]}` and `{"op": "memory"}`, one line each.
"""

import argparse
import json
import sys
import time

import sentence_transformers
import torch
from sentence_transformers.sentence_transformer import modules


def memory_bytes(field):
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base_bytes = memory_bytes("VmRSS")
    start = time.perf_counter_ns()
    # The folder holds weights, tokenizer and configuration; pooling is said here, so that no other file is needed.
    transformer = modules.Transformer(arguments.model, max_seq_length=256)
    pooling = modules.Pooling(transformer.get_embedding_dimension(), "mean")
    model = sentence_transformers.SentenceTransformer(modules=[transformer, pooling], device="cpu")
    model.encode(["first"], show_progress_bar=False)
    load_ms = (time.perf_counter_ns() - start) / 1e6
    version = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
    print(json.dumps({"ready": True, "load_ms": load_ms, "version": version}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["op"] == "embed":
            start = time.perf_counter_ns()
            rows = model.encode(command["texts"], normalize_embeddings=True, show_progress_bar=False)
            answer = {"ms": (time.perf_counter_ns() - start) / 1e6, "embeddings": rows.tolist()}
        else:
            answer = {"peak_bytes": memory_bytes("VmHWM"), "base_bytes": base_bytes}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
