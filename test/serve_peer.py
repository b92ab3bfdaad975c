"""The real Python clients against our server: each function takes what its test gives and returns JSON."""
import json
import os
import tempfile

from peer_main import answer


def openai_client(given):
    """Answers by the openai package, whole and streamed."""
    import openai

    client = openai.OpenAI(base_url=given["url"] + "/v1", api_key=given["key"], max_retries=0)
    ask = {"model": given["model"], "messages": given["messages"], "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**ask)
    streamed = [chunk for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})]
    text = client.completions.create(model=given["model"], prompt="Hello", temperature=0, max_tokens=8, logprobs=2, echo=True)
    several = client.completions.create(model=given["model"], prompt=[[72, 105], [72]], n=2, max_tokens=4, seed=1)
    vectors = client.embeddings.create(model=given["model"], input=["Hello", "Good day"])
    wrong = []
    for call in (
        lambda: client.chat.completions.create(**{**ask, "model": "none"}),
        lambda: client.completions.create(model=given["model"], prompt="x" * 600),
        lambda: openai.OpenAI(base_url=given["url"] + "/v1", api_key="wrong", max_retries=0).models.list(),
    ):
        try:
            call()
        except openai.APIStatusError as error:
            wrong.append(type(error).__name__)
    return {
        "chat": whole.choices[0].message.content,
        "streamed": "".join(c.choices[0].delta.content or "" for c in streamed if c.choices),
        "usage": streamed[-1].usage.model_dump() == whole.usage.model_dump(),
        "completion": text.choices[0].text,
        "logprobs": text.choices[0].logprobs.token_logprobs,
        "several": [c.index for c in several.choices],
        "models": [m.id for m in client.models.list()],
        "vectors": [v.embedding for v in vectors.data],
        "wrong": wrong,
    }


CHOICES = {
    "task": "local_choices",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "Q: {{question}}\nA:",
    "doc_to_target": "{{answer}}",
    "doc_to_choice": "{{choices}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
WRITTEN = {
    "task": "local_written",
    "dataset_path": "json",
    "output_type": "generate_until",
    "test_split": "test",
    "doc_to_text": "Q: {{question}}\nA:",
    "doc_to_target": "{{choices[0]}}",
    "generation_kwargs": {"until": ["zz"], "max_gen_toks": 12, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}


def harness(given):
    """lm-evaluation-harness on a local task: its own hf backend, and local-completions on our server."""
    import lm_eval

    folder = tempfile.mkdtemp()
    rows = os.path.join(folder, "rows.jsonl")
    with open(rows, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in given["rows"])
    tasks = [{**task, "dataset_kwargs": {"data_files": {"test": rows}}} for task in (CHOICES, WRITTEN)]
    backends = {
        "hf": ("hf", {"pretrained": given["folder"], "dtype": "float32", "device": "cpu", "max_length": 512}),
        "ours": (
            "local-completions",
            {
                "model": given["model"],
                "base_url": given["url"] + "/v1/completions",
                "tokenizer_backend": "huggingface",
                "tokenizer": given["folder"],
                "num_concurrent": 2,
                "max_length": 512,
            },
        ),
    }
    found = {}
    for name, (kind, arguments) in backends.items():
        done = lm_eval.simple_evaluate(kind, model_args=arguments, tasks=[dict(task) for task in tasks], batch_size=4, bootstrap_iters=0)
        found[name] = {
            "results": {task: {k: v for k, v in r.items() if isinstance(v, float)} for task, r in done["results"].items()},
            "samples": {
                task: [s["filtered_resps"] for s in sorted(samples, key=lambda s: s["doc_id"])] for task, samples in done["samples"].items()
            },
        }
    return found


if __name__ == "__main__":
    answer(globals())
