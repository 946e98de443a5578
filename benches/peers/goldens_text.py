"""Writes what llama.cpp makes of our test models: greedy continuations and perplexity.

    cd benches/peers
    $HEARTH_PEERS/llama/bin/python goldens_text.py run MODEL_ID FILE.gguf native.json
    $HEARTH_PEERS/llama-plain/bin/python goldens_text.py run MODEL_ID FILE.gguf plain.json --follow native.json
    python3 goldens_text.py join native.json plain.json

Two builds of llama.cpp run: `llama`, with everything the processor has, gives the answers; `llama-plain` computes the same positions
on the first one's path, so that the golden knows how far two builds of the same program are from each other.

Greedy: the prompt in one batch, then one token a call, at most 64, up to and with an end-of-generation token.
Perplexity: the text tokenised without special tokens, cut into windows of 512 (the rest dropped), each from an empty cache and without a
beginning-of-sequence token; the mean over positions 1..511 of every window of -ln p(token | the window's earlier tokens).
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "core/inference/tests/goldens"
STEPS = 64
WINDOW = 512

SYSTEM = "You are a helpful assistant."
QUESTIONS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three uses of a brick.",
    "Explain in simple words why the sky is blue.",
    "Translate 'good morning' into Spanish and German.",
    "What is 17 plus 25? Answer with the number only.",
    "Write a Python function that reverses a string.",
    "My name is Ada and I have two cats. What should I name the third?",
    "Summarise: The meeting moved from Monday to Thursday because the hall is being painted.",
    "Give me a short recipe for pancakes 🥞.",
]
BEGINNINGS = [
    "The quick brown fox",
    "Once upon a time, in a village by a river, there lived",
    "def fibonacci(n):\n    ",
    "The three primary colours are",
    "In 1969, the first humans",
    "Dear Sir or Madam,\n\nI am writing to",
    "{\"name\": \"Alice\", \"age\": 31, \"city\":",
    "Die Hauptstadt von Deutschland ist",
    "1, 1, 2, 3, 5, 8, 13,",
    "Photosynthesis is the process by which",
]


def prompts(chat_form):
    if chat_form == "chatml":
        chat = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    else:
        chat = "<start_of_turn>user\n{system}\n\n{user}<end_of_turn>\n<start_of_turn>model\n"
    return [chat.format(system=SYSTEM, user=question) for question in QUESTIONS] + BEGINNINGS


def top_two(logits):
    best = int(logits.argmax())
    kept = logits[best]
    logits[best] = -float("inf")
    second = int(logits.argmax())
    logits[best] = kept
    return best, second


def greedy(llama, prompt, tokens):
    llama.truncate(0)
    logits = llama.append(tokens).copy()
    steps = {"tokens": [], "second": [], "margin": []}
    for _ in range(STEPS):
        best, second = top_two(logits)
        steps["tokens"].append(best)
        steps["second"].append(second)
        steps["margin"].append(float(logits[best] - logits[second]))
        if llama.ends_generation(best):
            break
        logits = llama.append([best]).copy()
    text = b"".join(llama.piece(token) for token in steps["tokens"]).decode("utf-8", "replace")
    return {"prompt": prompt, "prompt_tokens": tokens, "text": text, **steps}


def follow(llama, golden):
    llama.truncate(0)
    logits = llama.append(golden["prompt_tokens"])
    margins, own = [], []
    for token, second in zip(golden["tokens"], golden["second"]):
        own.append(int(logits.argmax()))
        margins.append(float(logits[token] - logits[second]))
        logits = llama.append([token])
    return {"margin": margins, "own": own}


def perplexity(llama, numpy, text):
    tokens = llama.tokenize(text, False, False)
    total, count = 0.0, 0
    windows = len(tokens) // WINDOW
    for index in range(windows):
        window = tokens[index * WINDOW : (index + 1) * WINDOW]
        llama.truncate(0)
        logits = llama.append(window, every_logit=True).astype(numpy.float64)
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = numpy.log(numpy.exp(logits).sum(axis=1))
        for position in range(WINDOW - 1):
            total -= logits[position, window[position + 1]] - log_sum[position]
            count += 1
    return {"tokens": tokens, "windows": windows, "scored": count, "perplexity": float(numpy.exp(total / count))}


def run(arguments):
    import llama_cpp
    import numpy

    from llama_peer import Llama

    llama = Llama(arguments.file, arguments.threads)
    chat_form = "gemma" if arguments.model.startswith("gemma") else "chatml"
    out = {"model": arguments.model, "version": llama_cpp.__version__, "system": llama.system_info()}
    if arguments.follow:
        first = json.loads(pathlib.Path(arguments.follow).read_text())
        out["greedy"] = [follow(llama, golden) for golden in first["greedy"]]
    else:
        out["greedy"] = [greedy(llama, text, llama.tokenize(text, True, True)) for text in prompts(chat_form)]
    out["perplexity"] = perplexity(llama, numpy, (GOLDENS / "emma.txt").read_text())
    pathlib.Path(arguments.out).write_text(json.dumps(out))


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def join(arguments):
    native = json.loads(pathlib.Path(arguments.native).read_text())
    plain = json.loads(pathlib.Path(arguments.plain).read_text())
    shifts, agree, total, equal = [], 0, 0, 0
    for ours, theirs in zip(native["greedy"], plain["greedy"]):
        shifts += [abs(a - b) for a, b in zip(ours["margin"], theirs["margin"])]
        agree += sum(a == b for a, b in zip(ours["tokens"], theirs["own"]))
        total += len(ours["tokens"])
        equal += ours["tokens"][:32] == theirs["own"][:32]
    made_by = f"llama-cpp-python {native['version']}"
    head = {
        "made_by": made_by,
        "model": native["model"],
        "builds": [native["system"], plain["system"]],
        "other_build_equal": equal,
        "builds_agree": f"{agree} of {total} steps",
        "margin_shift": {
            "mean": round(sum(shifts) / len(shifts), 4),
            "p95": round(quantile(shifts, 0.95), 4),
            "p99": round(quantile(shifts, 0.99), 4),
            "max": round(max(shifts), 4),
        },
    }
    lines = ["{"] + [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()] + [' "prompts": [']
    entries = []
    for ours, theirs in zip(native["greedy"], plain["greedy"]):
        fields = {
            "prompt": ours["prompt"],
            "prompt_tokens": ours["prompt_tokens"],
            "text": ours["text"],
            "tokens": ours["tokens"],
            "second": ours["second"],
            "margin": [round(x, 3) for x in ours["margin"]],
            "other_build_margin": [round(x, 3) for x in theirs["margin"]],
        }
        entries.append("  {" + ",\n   ".join(f"{json.dumps(key)}: {compact(value)}" for key, value in fields.items()) + "}")
    lines.append(",\n".join(entries))
    lines += [" ]", "}"]
    stem = native["model"]
    (GOLDENS / f"greedy-{stem}.json").write_text("\n".join(lines) + "\n")
    ppl = native["perplexity"]
    fields = {
        "made_by": made_by,
        "model": native["model"],
        "text": "emma.txt",
        "window": WINDOW,
        "windows": ppl["windows"],
        "scored": ppl["scored"],
        "perplexity": round(ppl["perplexity"], 5),
        "other_build_perplexity": round(plain["perplexity"]["perplexity"], 5),
        "tokens": ppl["tokens"],
    }
    body = ",\n".join(f" {json.dumps(key)}: {compact(value)}" for key, value in fields.items())
    (GOLDENS / f"perplexity-{stem}.json").write_text("{\n" + body + "\n}\n")
    print(json.dumps({**head, "perplexity": fields["perplexity"], "other_build_perplexity": fields["other_build_perplexity"]}, indent=1))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run")
    command.add_argument("model")
    command.add_argument("file")
    command.add_argument("out")
    command.add_argument("--follow")
    command.add_argument("--threads", type=int, default=2)
    command.set_defaults(do=run)
    command = commands.add_parser("join")
    command.add_argument("native")
    command.add_argument("plain")
    command.set_defaults(do=join)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    sys.exit(main())
