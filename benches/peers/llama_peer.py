"""llama.cpp as a peer, driven through its C API (the ctypes layer of llama-cpp-python).

Started as a program it is one side of `hearth-benches chat`: it loads the model, prints one JSON line when ready, then answers one
JSON line on standard output for each command line on standard input:

    {"op": "prefill", "tokens": [...]}                 the whole prompt from an empty cache        -> {"ms": ...}
    {"op": "decode", "prompt": [...], "tokens": [...]} one call per token behind a cached prompt   -> {"ms": ...}
    {"op": "turn", "cached": [...], "new": [...]}      only `new` is computed; ends with its token -> {"ms": ..., "token": ...}
    {"op": "memory"}                                                                              -> {"peak_bytes": ..., "base_bytes": ...}

Tokens are given, so that both sides compute exactly the same thing and no sampling is timed. `goldens.py` uses the class below.
"""

import argparse
import ctypes
import json
import os
import sys
import time

import llama_cpp
import numpy


def memory_bytes(field):
    """One field of /proc/self/status (`VmHWM`, `VmRSS`) in bytes; 0 where there is no such file."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


@llama_cpp.llama_log_callback
def _log(level, text, _user_data):
    if os.environ.get("PEER_LOG"):
        sys.stderr.write(text.decode("utf-8", "replace"))


FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}


class Llama:
    """One model with one sequence: f16 keys and values, everything on the CPU."""

    def __init__(self, path, threads=2, context_length=2048, flash_attention="auto"):
        llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), model)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = context_length
        context.n_batch = 512
        context.n_ubatch = 512
        context.n_threads = threads
        context.n_threads_batch = threads
        context.flash_attn_type = FLASH_ATTENTION[flash_attention]
        context.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)
        self.cached = []

    def system_info(self):
        return llama_cpp.llama_print_system_info().decode()

    def tokenize(self, text, add_special, parse_special):
        data = text.encode()
        room = len(data) + 16
        out = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), out, room, add_special, parse_special)
        if count < 0:
            raise ValueError("tokenize")
        return list(out[:count])

    def piece(self, token):
        """The bytes of one token; special tokens give their text."""
        buffer = ctypes.create_string_buffer(512)
        count = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, 512, 0, True)
        return buffer.raw[:count]

    def ends_generation(self, token):
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def adds_bos(self):
        return bool(llama_cpp.llama_vocab_get_add_bos(self.vocab))

    def bos(self):
        return llama_cpp.llama_vocab_bos(self.vocab)

    def truncate(self, length):
        if length < len(self.cached):
            if not llama_cpp.llama_memory_seq_rm(self.memory, 0, length, -1):
                raise RuntimeError("the cache cannot be cut")
            del self.cached[length:]

    def append(self, tokens, every_logit=False):
        """Computes `tokens` behind what is cached; returns the logits of the last (or of every) position as an array, uncopied for one."""
        rows = []
        for start in range(0, len(tokens), 512):
            part = tokens[start : start + 512]
            batch = self.batch
            batch.n_tokens = len(part)
            base = len(self.cached)
            for index, token in enumerate(part):
                batch.token[index] = token
                batch.pos[index] = base + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = every_logit
            if start + len(part) == len(tokens):
                batch.logits[len(part) - 1] = True
            status = llama_cpp.llama_decode(self.context, batch)
            if status != 0:
                raise RuntimeError(f"llama_decode: {status}")
            self.cached.extend(part)
            if every_logit:
                for index in range(len(part)):
                    rows.append(self.logits(index).copy())
        return numpy.stack(rows) if every_logit else self.logits(-1)

    def logits(self, index):
        pointer = llama_cpp.llama_get_logits_ith(self.context, index)
        return numpy.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))

    def hold(self, tokens):
        """Makes the cache hold exactly `tokens`, computing only what differs from what it holds."""
        same = 0
        while same < len(tokens) and same < len(self.cached) and tokens[same] == self.cached[same]:
            same += 1
        self.truncate(same)
        if same < len(tokens):
            self.append(tokens[same:])


def milliseconds(start):
    return (time.perf_counter_ns() - start) / 1e6


def answer(llama, command, base_bytes):
    op = command["op"]
    if op == "prefill":
        llama.truncate(0)
        start = time.perf_counter_ns()
        llama.append(command["tokens"])
        return {"ms": milliseconds(start)}
    if op == "decode":
        llama.hold(command["prompt"])
        start = time.perf_counter_ns()
        for token in command["tokens"]:
            llama.append([token])
        return {"ms": milliseconds(start)}
    if op == "turn":
        llama.hold(command["cached"])
        start = time.perf_counter_ns()
        llama.hold(command["cached"] + command["new"])
        token = int(llama.logits(-1).argmax())
        return {"ms": milliseconds(start), "token": token}
    if op == "memory":
        return {"peak_bytes": memory_bytes("VmHWM"), "base_bytes": base_bytes}
    raise SystemExit(f"unknown op: {op}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context-length", type=int, default=2048)
    parser.add_argument("--flash-attention", choices=FLASH_ATTENTION, default="auto")
    arguments = parser.parse_args()
    base_bytes = memory_bytes("VmRSS")
    start = time.perf_counter_ns()
    llama = Llama(arguments.model, arguments.threads, arguments.context_length, arguments.flash_attention)
    # A first token, so that whatever is put off at loading is counted as loading.
    llama.append([1])
    load_ms = milliseconds(start)
    version = f"llama-cpp-python {llama_cpp.__version__}"
    print(json.dumps({"ready": True, "load_ms": load_ms, "version": version, "system": llama.system_info()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(llama, json.loads(line), base_bytes)), flush=True)


if __name__ == "__main__":
    main()
