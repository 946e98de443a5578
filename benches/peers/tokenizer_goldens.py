"""Writes the token ids that llama.cpp gives for a set of awkward strings.

    python3 benches/peers/tokenizer_goldens.py MODEL.gguf OUT.json

Needs llama-cpp-python. The output is what the tokenizer tests of core/inference compare with:
rerun it for the files under core/inference/tests/goldens after adding strings here.
"""

import json
import os
import sys

import llama_cpp

STRINGS = [
    "",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "a",
    " a",
    "a ",
    "Hello, world!",
    "What is the capital of France?",
    "The quick brown fox jumps over the lazy dog.",
    "the THE The tHe",
    "I'm you're he'd we've they'll it's don't I'M YOU'RE DON'T O'Neill 'tis",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "Hello     world",
    "  leading and trailing  ",
    "tabs\tbetween\t\twords\t",
    "line one\nline two\r\nline three\n\n\nline six",
    "   \n   \n\t\n",
    "a\n b\n  c\n   d",
    "one two  three   four    five     six",
    "no-break\u00a0space and em\u2003space and ideographic\u3000space",
    "zero\u200bwidth\u200djoiner\ufeffbom",
    "0",
    "1 22 333 4444 55555 666666 7777777",
    "3.14159 -2.71828 6.022e23 1,234,567.89",
    "2024-02-29T23:59:59Z",
    "+49 (0)30 1234-5678",
    "0xDEADBEEF 0b1010 0o777 1_000_000",
    "١٢٣٤ ۱۲۳ १२३ Ⅷ ½ ²",
    "!@#$%^&*()_+-=[]{}|;':\",./<>?`~",
    "!!! ??? ... --- === ###",
    "“curly” ‘quotes’ – en — em … ellipsis",
    "$100 €50 £20 ¥3000 ₿1",
    "https://example.org/a/b?c=d&e=f#g user.name+tag@example.co.uk",
    "/usr/local/bin ~/.config C:\\Windows\\System32",
    "def f(x):\n    if x > 0:\n        return x ** 2\n    return -x\n",
    "fn main() {\n\tlet v: Vec<u8> = vec![1, 2, 3];\n\tprintln!(\"{:?}\", v);\n}\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * c->d; } // done",
    "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';",
    "{\"key\": [1, 2.5, null, true], \"nested\": {\"a\": \"b\\n\"}}",
    "<html><body class=\"x\">&nbsp;<br/></body></html>",
    "```python\nprint('hi')\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "# Heading\n\n- item *one*\n- item **two**\n\n1. first",
    "camelCaseIdentifier snake_case_name SCREAMING_CASE kebab-case",
    "Größe über naïve façade Ångström piñata œuvre",
    "cafe\u0301 vs caf\u00e9 A\u030a n\u0303",
    "Привет, как дела? Это проверка.",
    "Γειά σου Κόσμε",
    "你好，世界！今天天气怎么样？",
    "吾輩は猫である。名前はまだ無い。カタカナとひらがな",
    "안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "שלום עולם",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "Xin chào thế giới",
    "🙂",
    "😀😃😄 party 🎉🎊",
    "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷",
    "mixed 日本語 and English и русский 123 🚀 done",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 🄰",
    "ﷺ ﬁ ﬂ Å K",
    "\u0000\u0001\u0002 control \u001b[31mred\u001b[0m \u007f\u0085",
    "private \ue000\uf8ff use and last \U0010ffff",
    "\u202eright to left override\u202c",
    "a" * 100,
    " " * 100 + "x",
    "\n" * 40 + "x",
    "\t" * 35 + "x",
    "ab" * 50 + "!" * 30,
    "漢" * 40,
    "=" * 80,
    "......................................",
    "<|endoftext|>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "text <|im_end|> text<|im_end|><|im_end|> <|im_start|>",
    "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
    "<eos> <pad> <unk> <unused7> <s> </s> [INST] <|eot_id|>",
    "<|im_end <|im_end|",
    "<<|im_start|>> ||<|endoftext|>||",
    "<think>\nLet me see.\n</think>\n\nYes.",
    "<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
    "<0x41> <0x0A> ▁ ▁▁ Ġ Ċ",
    "<table><tr><td>1</td></tr></table> <h1>x</h1> <b>y</b> <strong>",
    "Ünïcödé \U0001d573\U0001d58e x\u0301\u0302\u0303\u0304y",
    "end with newline\n",
    "end with spaces   ",
    " \u00a0\u2003 \u3000x \u00a0",
    "a\u2028b\u2029c\u000bd\u000ce",
    "don't can't won't ISN'T y'all'd've rock'n'roll 'em",
    "e.g. i.e. etc. U.S.A. Dr. Mr. 3rd 1st 100%",
    "😀a😀1😀 😀\n😀",
]


def main(model_path, out_path):
    model = llama_cpp.Llama(model_path, vocab_only=True, verbose=False)
    cases = []
    for text in STRINGS:
        for special in (False, True):
            ids = model.tokenize(text.encode(), add_bos=False, special=special)
            cases.append({"text": text, "parse_special": special, "ids": ids})
    with open(out_path, "w", encoding="utf-8") as out:
        out.write("{\n")
        out.write(f'  "model": {json.dumps(os.path.basename(model_path))},\n')
        out.write(f'  "peer": "llama.cpp through llama-cpp-python {llama_cpp.__version__}",\n')
        out.write('  "cases": [\n')
        lines = ["    " + json.dumps(case, ensure_ascii=True) for case in cases]
        out.write(",\n".join(lines))
        out.write("\n  ]\n}\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
