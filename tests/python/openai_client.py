"""The official client against `hearth serve`. Arguments: base URL, API key, chat model, embedding model."""

import json
import math
import sys
import threading

import openai
from openai import OpenAI

BASE_URL, KEY, CHAT, EMBEDDING = sys.argv[1:5]
client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0, timeout=100)
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 30}, "country": {"enum": ["France", "Spain"]}},
    "required": ["city", "country"],
    "additionalProperties": False,
}


def refused(kind, **request):
    request = {"model": CHAT, "messages": CAPITAL, "max_tokens": 4} | request
    extra = {key: request.pop(key) for key in list(request) if key.startswith("x_")}
    try:
        client.chat.completions.create(**request, extra_body=extra or None)
    except kind as error:
        assert error.body and error.body["message"], error
        return error
    raise AssertionError(f"{request} was not refused")


def test_models():
    ids = {model.id: model for model in client.models.list()}
    assert CHAT in ids and EMBEDDING in ids, ids
    assert client.models.retrieve(CHAT).object == "model"
    try:
        client.models.retrieve("nonsense")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("a model that isn't there was found")


def test_chat():
    done = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=32)
    assert done.object == "chat.completion" and done.model == CHAT and done.id.startswith("chatcmpl-"), done
    choice = done.choices[0]
    assert "Paris" in choice.message.content and choice.finish_reason == "stop", done
    usage = done.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage
    assert usage.prompt_tokens_details.cached_tokens >= 0, usage


def test_prefix_is_reused():
    create = lambda: client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=8).usage
    create()
    usage = create()
    assert usage.prompt_tokens_details.cached_tokens > usage.prompt_tokens / 2, usage


def test_default_model():
    done = client.chat.completions.create(model="hearth", messages=CAPITAL, max_tokens=4)
    assert done.model == CHAT, done


def test_stream():
    request = {"model": CHAT, "messages": CAPITAL, "temperature": 0, "max_tokens": 32}
    whole = client.chat.completions.create(**request).choices[0].message.content
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert len({chunk.id for chunk in chunks}) == 1 and len(chunks) > 4, chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole, (text, whole)
    assert chunks[-2].choices[0].finish_reason == "stop", chunks[-2]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 1, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1]), chunks


def test_stream_without_usage():
    chunks = list(client.chat.completions.create(model=CHAT, messages=CAPITAL, max_tokens=4, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), chunks
    assert chunks[-1].choices[0].finish_reason == "length", chunks[-1]


def test_seed_and_stop():
    story = [{"role": "user", "content": [{"type": "text", "text": "Tell me a story."}]}]
    create = lambda **more: client.chat.completions.create(model=CHAT, messages=story, max_tokens=24, **more)
    texts = {create(seed=seed, temperature=1.5).choices[0].message.content for seed in (5, 5, 6)}
    assert len(texts) == 2, texts
    whole = create(temperature=0).choices[0].message.content
    word = whole.split()[5]
    stopped = create(temperature=0, stop=[word]).choices[0]
    assert stopped.finish_reason == "stop" and stopped.message.content == whole[: whole.index(word)], stopped
    assert create(temperature=0, stop=word).choices[0].message.content == stopped.message.content


def test_json_schema():
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    for seed in range(5):
        done = client.chat.completions.create(
            model=CHAT, messages=CAPITAL, response_format=form, seed=seed, temperature=1.5, max_tokens=120
        )
        value = json.loads(done.choices[0].message.content)
        assert set(value) == {"city", "country"} and value["country"] in ("France", "Spain"), value
        assert isinstance(value["city"], str) and len(value["city"]) <= 30, value


def test_json_schema_by_class():
    from pydantic import BaseModel

    class Answer(BaseModel):
        number: int
        yes: bool

    done = client.chat.completions.parse(
        model=CHAT, messages=[{"role": "user", "content": "Is 7 prime?"}], response_format=Answer, max_tokens=120
    )
    assert isinstance(done.choices[0].message.parsed, Answer), done


def test_json_object():
    done = client.chat.completions.create(
        model=CHAT, messages=CAPITAL, response_format={"type": "json_object"}, temperature=0, max_tokens=300
    )
    if done.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(done.choices[0].message.content), dict), done


def test_answers_come_back():
    first = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=16)
    turn = first.choices[0].message.model_dump()
    messages = CAPITAL + [turn, {"role": "user", "content": "And of Spain?"}]
    done = client.chat.completions.create(model=CHAT, messages=messages, temperature=0, max_tokens=16)
    assert done.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens / 2, done


def test_embeddings():
    texts = ["The cat sits on the mat.", "A cat is sitting on a rug.", "Stock prices fell on Monday."]
    encoded = client.embeddings.create(model=EMBEDDING, input=texts)
    plain = client.embeddings.create(model=EMBEDDING, input=texts, encoding_format="float")
    vectors = [item.embedding for item in encoded.data]
    assert [item.index for item in encoded.data] == [0, 1, 2] and len(vectors[0]) == 384, encoded
    cosine = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert all(abs(math.sqrt(cosine(v, v)) - 1) < 1e-4 for v in vectors)
    assert all(cosine(a, b.embedding) > 0.99999 for a, b in zip(vectors, plain.data))
    assert cosine(vectors[0], vectors[1]) > 0.6 > cosine(vectors[0], vectors[2]), vectors
    assert encoded.usage.prompt_tokens > 10, encoded.usage
    assert len(client.embeddings.create(model=EMBEDDING, input="one", dimensions=384).data) == 1
    for wrong in ({"dimensions": 12}, {"input": [1, 2]}, {"input": ""}, {"input": []}, {"input": "word " * 5000}):
        try:
            client.embeddings.create(**({"model": EMBEDDING, "input": "one"} | wrong))
        except openai.BadRequestError as error:
            assert error.type == "invalid_request_error", error
        else:
            raise AssertionError(f"{str(wrong)[:60]} was not refused")


def test_refusals():
    bad = openai.BadRequestError
    assert refused(bad, n=2).param == "n"
    assert refused(bad, x_temprature=1).code == "unknown_parameter"
    assert refused(bad, tools=[{"type": "function", "function": {"name": "f"}}]).param == "tools"
    assert refused(bad, logprobs=True).param == "logprobs"
    assert refused(bad, presence_penalty=1).param == "presence_penalty"
    assert refused(bad, temperature=3).param == "temperature"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert "image" in str(refused(bad, messages=[{"role": "user", "content": [image]}])).lower()
    assert refused(bad, messages=[{"role": "user", "content": "word " * 20000}]).code == "context_length_exceeded"
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    assert refused(bad, response_format=schema).status_code == 400
    assert refused(openai.NotFoundError, model="gpt-4o").code == "model_not_found"
    streamed = refused(openai.NotFoundError, model="gpt-4o", stream=True)
    assert streamed.status_code == 404, "refusals of a stream have a status of their own"
    assert refused(bad, model=EMBEDDING).status_code == 400


def test_wrong_key():
    for key in ("wrong", KEY[:-1], KEY + "0"):
        try:
            OpenAI(base_url=BASE_URL, api_key=key, max_retries=0).models.list()
        except openai.AuthenticationError as error:
            assert error.code == "invalid_api_key", error
        else:
            raise AssertionError("a wrong key was accepted")


def test_harmless_fields():
    client.chat.completions.create(
        model=CHAT, messages=CAPITAL, max_completion_tokens=2, user="u", metadata={"a": "b"}, store=False, n=1,
        logit_bias={}, frequency_penalty=0, parallel_tool_calls=True, service_tier="auto",
    )


def test_leaving_a_stream_leaves_the_server_well():
    for _ in range(3):
        stream = client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "Count to a thousand."}], max_tokens=2000, stream=True
        )
        next(iter(stream))
        stream.close()
    test_stream_without_usage()


def test_a_hundred_clients_at_once():
    results = []

    def ask(number):
        try:
            done = client.chat.completions.create(model=CHAT, messages=CAPITAL, max_tokens=2, seed=number)
            results.append(done.usage.completion_tokens)
        except openai.APIStatusError as error:
            assert error.status_code in (429, 503) and error.response.headers["retry-after"], error
            results.append(error.status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 100, f"only {len(results)} of 100 got an answer"
    assert results.count(2) + results.count(1) >= 50, results


failed = 0
for name, test in list(globals().items()):
    if name.startswith("test_") and (len(sys.argv) < 6 or sys.argv[5] in name):
        try:
            test()
            print(f"{name}: ok", flush=True)
        except Exception as error:  # every test runs
            import traceback

            failed += 1
            print(f"{name}: FAILED {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
sys.exit(bool(failed))
