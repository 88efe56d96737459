"""What a user does, with the public `openai` client against a running outer.

    python openai_client.py BASE_URL API_KEY
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import openai

import servers

PROMPT = "Mara picks 14 apples on Monday and twice as many on Tuesday. How many apples does she have?"
MESSAGES = [{"role": "user", "content": PROMPT}]


def client(base, key, **more):
    return openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=60, **more)


def chat(api, **more):
    """Streams; returns text, reason of the end, usage."""
    options = {"model": "weir", "messages": MESSAGES, "max_tokens": 48, "temperature": 0.7, "seed": 1} | more
    stream = api.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options)
    text, finish, usage = "", None, None
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    return text, finish, usage


def endless(pair):
    """Begins a long answer in a thread and returns once its first piece has come: (thread, what became of it)."""
    begun, fate = threading.Event(), {}

    def run():
        api = client(pair.base, servers.KEY)
        try:
            # At a temperature of 2 the end of an answer is unlikely.
            stream = api.chat.completions.create(
                model="weir", messages=MESSAGES, max_tokens=160, temperature=2, seed=5, stream=True
            )
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    begun.set()
            fate["end"] = "complete"
        except Exception as error:  # any way to fail is a fate, and is looked at by the test
            fate["end"] = repr(error)
        finally:
            begun.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(30), "no answer has begun"
    return thread, fate


def models(api):
    assert "weir" in [model.id for model in api.models.list()], "the model is not listed"


def chat_streams_what_it_answers_whole(api):
    text, finish, usage = chat(api)
    assert text and finish in ("stop", "length"), (text, finish)
    assert usage.completion_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    cost = usage.model_extra["weir"]
    assert cost["coded_bits"] > 0 and cost["frame_bits"] >= cost["coded_bits"] * 0.5, cost
    whole = api.chat.completions.create(
        model="weir", messages=MESSAGES, max_tokens=48, temperature=0.7, seed=1
    )
    assert whole.choices[0].message.content == text, "streamed and whole answers differ"
    assert whole.choices[0].finish_reason == finish
    assert whole.usage.model_extra["weir"]["seed"] == cost["seed"]


def another_seed_gives_another_answer(api):
    answers = {chat(api, temperature=1.0, seed=seed)[0] for seed in range(4)}
    assert len(answers) > 1, "four seeds, one answer"


def greedy_answers_need_no_seed(api):
    assert chat(api, temperature=0, seed=3)[0] == chat(api, temperature=0, seed=4)[0]


def completions(api):
    options = {"model": "weir", "prompt": "Mara picks 14 apples on Monday and twice as many on", "max_tokens": 24, "temperature": 0.5, "seed": 7}
    whole = api.completions.create(**options).choices[0].text
    streamed = "".join(
        choice.text for chunk in api.completions.create(stream=True, **options) for choice in chunk.choices
    )
    assert whole and whole == streamed, (whole, streamed)


def the_token_limit_holds(api):
    _, finish, usage = chat(api, max_tokens=5)
    assert usage.completion_tokens <= 5
    assert finish == "length" or usage.completion_tokens < 5, finish


def a_stop_string_ends_the_answer(api):
    text = chat(api, temperature=0)[0]
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    stopped, finish, _ = chat(api, temperature=0, stop=[stop])
    assert finish == "stop" and stop not in stopped and text.startswith(stopped), (text, stop, stopped, finish)


def a_deviation_costs_less_and_is_repeatable(api):
    def ask(tau, **more):
        text, _, usage = chat(api, extra_body={"weir": {"tau": tau}}, **more)
        assert usage.model_extra["weir"]["tau"] == tau, usage
        return text, usage.model_extra["weir"]["coded_bits"] / usage.completion_tokens

    lossless = chat(api, temperature=1.0)[0]
    assert ask(1, temperature=1.0)[0] == lossless, "a tau of 1 changes the answer"
    for options in ({"temperature": 0}, {"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.9}):
        assert ask(0.1, **options)[0] == ask(0.1, **options)[0], "the same query, another answer"
        seeds = range(6) if options["temperature"] else range(1)
        full = sum(ask(1, **options | {"seed": seed})[1] for seed in seeds)
        cheap = sum(ask(0.05, **options | {"seed": seed})[1] for seed in seeds)
        assert cheap < full, (options, cheap, full)


def many_at_once(api):
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda seed: chat(api, seed=seed, temperature=1.0), range(48)))
    assert all(usage.completion_tokens > 0 for _, _, usage in answers)
    again = chat(api, seed=17, temperature=1.0)
    assert again[0] == answers[17][0], "the same seed beside other queries gives another answer"


def leaving_early_is_fine(api):
    stream = api.chat.completions.create(model="weir", messages=MESSAGES, max_tokens=128, stream=True)
    next(iter(stream))
    stream.close()
    assert chat(api)[0]


def bad_input(api):
    base = str(api.base_url).rstrip("/").removesuffix("/v1")
    url = f"{base}/v1/chat/completions"
    good = {"model": "weir", "messages": MESSAGES, "max_tokens": 4}
    wrong = servers.fetch(f"{base}/v1/models", key="no-such-key")
    assert wrong[0] == 401, wrong
    assert servers.fetch(url, good, key=None)[0] == 401
    try:
        client(base, "no-such-key").models.list()
        raise AssertionError("a wrong key was taken")
    except openai.AuthenticationError:
        pass
    try:
        chat(api, model="no-such-model")
        raise AssertionError("an unknown model was taken")
    except openai.NotFoundError as error:
        assert "no-such-model" in str(error), error
    try:
        chat(api, messages=[{"role": "user", "content": "long " * 20_000}])
        raise AssertionError("a prompt of 20,000 words was taken")
    except openai.BadRequestError as error:
        assert sum(part.strip(".,;:()").isdigit() for part in str(error).split()) >= 2, f"no two numbers: {error}"
    for body, field in [
        (b"{", "JSON"),
        (good | {"temperature": "hot"}, "temperature"),
        (good | {"temperature": -1}, "temperature"),
        (good | {"max_tokens": 0}, "max_tokens"),
        (good | {"messages": []}, "messages"),
        (good | {"messages": [{"role": "user"}]}, "content"),
        ({"messages": MESSAGES}, "model"),
        (good | {"top_p": 2}, "top_p"),
        (good | {"n": 3}, "'n'"),
        (good | {"weir": {"tau": 0.001}}, "weir.tau"),
        (good | {"weir": {"tau": 2}}, "weir.tau"),
    ]:
        status, text = servers.fetch(url, body)
        assert status == 400 and field in text, (body, status, text)
    assert servers.fetch(f"{base}/v1/nothing", good)[0] == 404


CHECKS = [
    models,
    chat_streams_what_it_answers_whole,
    another_seed_gives_another_answer,
    greedy_answers_need_no_seed,
    completions,
    the_token_limit_holds,
    a_stop_string_ends_the_answer,
    a_deviation_costs_less_and_is_repeatable,
    many_at_once,
    leaving_early_is_fine,
    bad_input,
]


def main(base, key):
    api = client(base, key)
    for check in CHECKS:
        check(api)
        print(f"ok   {check.__name__}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
