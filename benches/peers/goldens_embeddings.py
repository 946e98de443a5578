"""Writes core/inference/tests/goldens/minilm.json: what sentence-transformers says about a list of texts.

    .cache/peers/embed/bin/python benches/peers/goldens_embeddings.py MODEL_DIR

MODEL_DIR is the model's folder in the layout of its authors (modules.json, 1_Pooling/, model.safetensors, …); the package wheel holds it.
"""

import json
import pathlib
import sys

import sentence_transformers
import torch

LONG = (
    "The allotment behind the station has been waterlogged since October, so the committee met in the pump house to decide whether the "
    "money should go to a drain, to raised beds, or to the new shed that everybody had already voted for twice. "
)

TEXTS = [
    "Hello",
    "Hello, world!",
    "The cat sat on the mat.",
    "A feline was resting on a rug.",
    "What is the capital of France?",
    "Paris is the capital and largest city of France.",
    "My sister is allergic to peanuts and shellfish.",
    "I moved from Lisbon to Rotterdam in the spring of 2021.",
    "We no longer live in Rotterdam; since June it's Ghent.",
    "Remind me to call the dentist next Tuesday at 14:30.",
    "fn main() { println!(\"{}\", 1 + 1); }",
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;",
    "https://example.org/a/path?with=query&and=more#fragment",
    "user.name+tag@mail.example.com",
    "3.14159 2.71828 1,000,000 -42 0x1F 6.02e23",
    "ALL CAPITALS AND    MANY     SPACES",
    "tabs\tand\nnew\r\nlines",
    "naïve café — “quotes”, ‘single’ … and ellipsis",
    "Wo ist der nächste Bahnhof, bitte?",
    "Où se trouve la bibliothèque municipale ?",
    "¿Dónde está la estación de tren más cercana?",
    "Onde fica a farmácia?",
    "Где находится ближайшая аптека?",
    "最近的火车站在哪里?",
    "駅はどこですか。",
    "가장 가까운 역이 어디예요?",
    "أين أقرب محطة قطار؟",
    "निकटतम रेलवे स्टेशन कहाँ है?",
    "ที่ทำการไปรษณีย์อยู่ที่ไหน",
    "Πού είναι ο σταθμός;",
    "😀",
    "Great job 🎉🎉 see you 👩‍👩‍👧‍👦 at the 🏖️!",
    "",
    " ",
    ".",
    "?!?!",
    "a",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "[CLS] special [SEP] words [MASK] in the text [PAD]",
    "e\u0301 \u200b zero\u200bwidth and co\u00admbining and \ufeff mark and \x01 control",
    "x" * 150,
    LONG,
    LONG * 4,
    LONG * 8,
]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    torch.set_num_threads(1)
    model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
    embeddings = [model.encode(text, normalize_embeddings=True) for text in TEXTS]
    golden = {
        "made_by": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}",
        "model": "all-minilm-l6-v2",
        "max_tokens": model.max_seq_length,
        "texts": TEXTS,
        "embeddings": [[round(float(x), 5) for x in row] for row in embeddings],
    }
    out = root / "core/inference/tests/goldens/minilm.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ["{"]
    lines += [f" {json.dumps(key)}: {json.dumps(golden[key])}," for key in ("made_by", "model", "max_tokens")]
    lines.append(' "texts": [')
    lines.append(",\n".join("  " + json.dumps(text) for text in TEXTS))
    lines.append(' ],\n "embeddings": [')
    lines.append(",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in golden["embeddings"]))
    lines.append(" ]\n}")
    out.write_text("\n".join(lines) + "\n")
    print(f"{len(TEXTS)} texts, max_seq_length {model.max_seq_length} -> {out}")


if __name__ == "__main__":
    main()
