"""Renders chat templates as Hugging Face's apply_chat_template does.

    python3 benches/peers/template_goldens.py OUT.json TEMPLATE.jinja|MODEL.gguf ...

Needs jinja2, and llama-cpp-python for GGUF files. The output is what the template tests of
core/inference compare with (core/inference/tests/goldens/templates.json).
"""

import datetime
import json
import os
import sys

import jinja2
import jinja2.sandbox

NOW = datetime.datetime(2026, 3, 9, 14, 5, 7)

CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", "What is 2+2?")],
    [("user", "  Hi  "), ("assistant", " Hello! How are you?\n"), ("user", "Fine.\n\nAnd you?")],
    [
        ("system", "  You're \"helpful\" & <kind>.\n"),
        ("user", "x first question!"),
        ("assistant", "<think>\nHmm, a thought.\n</think>\n\nAn answer."),
        ("user", "Größe? 日本語 🙂 {{ not_a_template }} {% raw %}"),
        ("assistant", "plain answer"),
        ("user", "last"),
    ],
    [("user", "one"), ("assistant", "<think>\nbecause\n</think>\n\nso")],
]
REFUSED = [
    [("user", "a"), ("user", "b")],
    [("assistant", "a"), ("user", "b")],
]


class Refusal(Exception):
    pass


def refuse(message):
    raise Refusal(message)


def compile_template(source):
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = NOW.strftime
    return environment.from_string(source)


def load(path):
    if not path.endswith(".gguf"):
        with open(path, encoding="utf-8") as file:
            return file.read()
    import llama_cpp

    model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    return model.metadata["tokenizer.chat_template"]


def main(out_path, paths):
    cases = []
    for path in paths:
        template = compile_template(load(path))
        for conversation in CONVERSATIONS + REFUSED:
            for prompt, thinking in ((True, True), (True, False), (False, True)):
                parts = os.path.basename(path) == "parts-only.jinja"
                messages = [
                    {"role": role, "content": [{"type": "text", "text": text}] if parts else text}
                    for role, text in conversation
                ]
                try:
                    text = template.render(
                        messages=messages,
                        tools=None,
                        documents=None,
                        add_generation_prompt=prompt,
                        enable_thinking=thinking,
                        thinking=thinking,
                        bos_token="<BOS>",
                        eos_token="<EOS>",
                    )
                except Refusal:
                    text = None
                cases.append(
                    {
                        "template": os.path.basename(path),
                        "messages": [{"role": role, "content": text} for role, text in conversation],
                        "add_generation_prompt": prompt,
                        "enable_thinking": thinking,
                        "text": text,
                    }
                )
    with open(out_path, "w", encoding="utf-8") as out:
        lines = [json.dumps(case, ensure_ascii=True) for case in cases]
        out.write('{"peer": "jinja2 %s", "cases": [\n' % jinja2.__version__)
        out.write(",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
