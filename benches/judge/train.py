"""Trains the classifier of pairs that tells whether a later statement replaces an older one, says the same, or neither.

    benches/peers/setup embed                        # PyTorch, once
    .cache/peers/embed/bin/python benches/judge/train.py

Low-rank adapters (LoRA) on all-MiniLM-L6-v2 read as a cross-encoder, a head of two layers over the first token and the
mean. Writes core/src/memory/compare/judge.safetensors and core/tests/goldens/judge.json. About half an hour on two cores
with AMX. The weights that ship had four epochs on the first ten pools without world.py and near neighbours, one
more with them (`--resume --epochs 1 --rate 5e-4 --per-slot 24`), and three on all fourteen pools (`--resume --epochs 3 --rate 1e-3
--per-slot 24`). `benches/data/supersession/blind-*.toml` is never trained on, nor is anything chosen by it.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

from foreign import foreign
from pairs import APART, REPLACES, labelled, pools
from world import world

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SUPERSESSION = ROOT / "benches/data/supersession"
TRAIN = sorted(HERE.glob("pools/*.toml")) + [SUPERSESSION / "tune.toml", SUPERSESSION / "second.toml"]
ADAPTER = ROOT / "core/src/memory/compare/judge.safetensors"
DEV = SUPERSESSION / "held.toml"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--base", type=Path, default=ROOT / ".cache/models/all-minilm-l6-v2")
parser.add_argument("--rank", type=int, default=32)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--per-slot", type=int, default=40, help="pairs of each slot in an epoch")
parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--world", type=int, default=6000, help="pairs about several people and things in an epoch")
parser.add_argument("--resume", action="store_true", help="go on from the weights that are there")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

torch.manual_seed(args.seed)
torch.set_num_threads(args.threads)
tokenizer = Tokenizer.from_file(str(args.base / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(128)


class LowRank(nn.Module):
    """A frozen matrix with B·A beside it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.down = nn.Parameter(torch.randn(args.rank, inner.in_features) / math.sqrt(inner.in_features))
        self.up = nn.Parameter(torch.zeros(inner.out_features, args.rank))

    def forward(self, x):
        return self.inner(x) + F.linear(F.linear(x, self.down), self.up)


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        config = BertConfig.from_json_file(args.base / "config.json")
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        self.bert = BertModel(config, add_pooling_layer=False)
        weights = load_file(args.base / "model.safetensors")
        self.bert.load_state_dict({name.removeprefix("bert."): w for name, w in weights.items()}, strict=False)
        self.bert.requires_grad_(False)
        for layer in self.bert.encoder.layer:
            attention = layer.attention.self
            attention.query = LowRank(attention.query)
            attention.key = LowRank(attention.key)
            attention.value = LowRank(attention.value)
            layer.attention.output.dense = LowRank(layer.attention.output.dense)
            layer.intermediate.dense = LowRank(layer.intermediate.dense)
            layer.output.dense = LowRank(layer.output.dense)
        self.types = nn.Parameter(self.bert.embeddings.token_type_embeddings.weight.detach().clone())
        self.hidden = nn.Linear(config.hidden_size * 2, 192)
        self.out = nn.Linear(192, 3)
        self.dropout = nn.Dropout(0.1)

    def forward(self, ids, types, mask):
        tables = self.bert.embeddings
        places = tables.position_embeddings(torch.arange(ids.shape[1]))
        x = tables.LayerNorm(tables.word_embeddings(ids) + places[None] + self.types[types])
        least = torch.finfo(torch.float32).min
        hide = torch.zeros(mask.shape).masked_fill(mask == 0, least)[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        for layer in self.bert.encoder.layer:
            x = layer(x, hide)
            x = x[0] if isinstance(x, tuple) else x
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        states = self.dropout(torch.cat([x[:, 0], mean], -1))
        return self.out(self.dropout(F.gelu(self.hidden(states))))


def encode(pairs):
    encodings = tokenizer.encode_batch([(pair[0], pair[1]) for pair in pairs])
    longest = max(len(encoding.ids) for encoding in encodings)

    def rows(get):
        return torch.tensor([get(e) + [0] * (longest - len(e.ids)) for e in encodings])

    return rows(lambda e: e.ids), rows(lambda e: e.type_ids), rows(lambda e: e.attention_mask)


def predict(model, pairs):
    model.eval()
    with torch.no_grad():
        parts = [F.softmax(model(*encode(pairs[at : at + 64])), -1) for at in range(0, len(pairs), 64)]
    return torch.cat(parts)


def report(model, pairs):
    """How many of the replacing pairs are found at several shares of false ones."""
    found = predict(model, pairs)
    labels = torch.tensor([label for *_, label in pairs])
    line = f"right {(found.argmax(-1) == labels).float().mean():.3f}"
    others = found[labels != REPLACES, 0].sort().values
    for share in (0.02, 0.01, 0.005):
        least = others[int(len(others) * (1 - share))]
        line += f" | {share:.1%} false: {(found[labels == REPLACES, 0] > least).float().mean():.3f} from {least:.2f}"
    print("    " + line, flush=True)


def train():
    chance = random.Random(args.seed)
    slots, extra = pools(TRAIN)
    dev_slots, _ = pools([DEV])
    dev = labelled(dev_slots, [], 60, random.Random(7), surface_too=False)
    model = Judge()
    if args.resume:
        read(model, ADAPTER)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, weight_decay=0.01)
    step, steps = 0, None
    averaged = [weight.detach().clone() for weight in weights]
    print(len(slots), "slots,", len(extra), "pairs,", sum(weight.numel() for weight in weights), "weights")
    for epoch in range(args.epochs):
        began = time.time()
        data = labelled(slots, extra * 2, args.per_slot, chance)
        # Other languages are the rules' business: there it is to hold its tongue.
        data += [(older, later, APART) for older, later in foreign(1500, chance)]
        data += world(args.world, chance)
        chance.shuffle(data)
        # Pairs of like length together.
        heaps = [data[at : at + args.batch * 16] for at in range(0, len(data), args.batch * 16)]
        batches = []
        for heap in heaps:
            heap.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
            batches += [heap[at : at + args.batch] for at in range(0, len(heap), args.batch)]
        chance.shuffle(batches)
        steps = steps or len(batches) * args.epochs
        model.train()
        total = 0.0
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = args.rate * min(1, step / 100) * max(0.0, 1 - step / steps)
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(*encode(batch))
            labels = torch.tensor([label for *_, label in batch])
            loss = F.cross_entropy(scores.float(), labels, label_smoothing=0.005)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            step += 1
            total += loss.item()
            # The mean of the late weights: less of a lottery than the last ones, and on DEV as good.
            share = min(0.999, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, weight in zip(averaged, weights):
                    mean.lerp_(weight, 1 - share)
        print(f"epoch {epoch + 1}: loss {total / len(batches):.3f}, {time.time() - began:.0f} s", flush=True)
        report(model, dev)
    with torch.no_grad():
        for mean, weight in zip(averaged, weights):
            weight.copy_(mean)
    print("averaged:")
    report(model, dev)
    return model


def write(model, path):
    """As core/inference reads it: f16, matrices [inputs, outputs]; the ups of query, key and value one above the other."""
    out = {}
    for number, layer in enumerate(model.bert.encoder.layer):
        attention = layer.attention.self
        parts = [attention.query, attention.key, attention.value]
        out[f"{number}.attention_in.down"] = torch.cat([part.down.T for part in parts], 1)
        out[f"{number}.attention_in.up"] = torch.cat([part.up.T for part in parts], 0)
        for name, part in (
            ("attention_out", layer.attention.output.dense),
            ("feed_forward_in", layer.intermediate.dense),
            ("feed_forward_out", layer.output.dense),
        ):
            out[f"{number}.{name}.down"], out[f"{number}.{name}.up"] = part.down.T, part.up.T
    out["types"] = model.types
    for name, part in (("head.hidden", model.hidden), ("head.out", model.out)):
        out[name], out[name + ".bias"] = part.weight.T, part.bias
    save_file({name: tensor.detach().half().contiguous() for name, tensor in out.items()}, path)


def read(model, path):
    """What `write` wrote."""
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    for number, layer in enumerate(model.bert.encoder.layer):
        attention = layer.attention.self
        downs = tensors[f"{number}.attention_in.down"].T.chunk(3, 0)
        ups = tensors[f"{number}.attention_in.up"].chunk(3, 0)
        for part, down, up in zip((attention.query, attention.key, attention.value), downs, ups):
            part.down.data, part.up.data = down.contiguous(), up.T.contiguous()
        for name, part in (
            ("attention_out", layer.attention.output.dense),
            ("feed_forward_in", layer.intermediate.dense),
            ("feed_forward_out", layer.output.dense),
        ):
            part.down.data = tensors[f"{number}.{name}.down"].T.contiguous()
            part.up.data = tensors[f"{number}.{name}.up"].T.contiguous()
    model.types.data = tensors["types"]
    for name, part in (("head.hidden", model.hidden), ("head.out", model.out)):
        part.weight.data, part.bias.data = tensors[name].T.contiguous(), tensors[name + ".bias"]


GOLDEN = [
    ("Lives in Paris", "Moved from Paris to Lyon"),
    ("Lives in Paris", "Sister lives in Lyon"),
    ("Has a dog called Rex", "The user's dog is named Rex."),
    ("Takes 10 mg of lisinopril", "The doctor doubled the lisinopril, it is 20 mg a day now"),
    ("Is learning the cello", "Sold the cello and plays the piano instead"),
    ("Prefers window seats", "Flies to Lisbon on Friday"),
    ("My wife is called Anna", "My wife and I live in Oslo"),
    ("", "Wohnt in Köln"),
]


def golden(model, path):
    lines = [
        {"older": older, "later": later, "classes": predict(model, [(older, later)])[0].tolist()}
        for older, later in GOLDEN
    ]
    path.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    judge = train()
    write(judge, ADAPTER)
    golden(judge, ROOT / "core/tests/goldens/judge.json")
