"""What Hugging Face's datasets and TRL make of rows. usage: peer_data.py TASK INPUT OUTPUT"""


from datasets import ClassLabel, Dataset, concatenate_datasets, interleave_datasets

from peer_main import answer


def methods(data):
    """Rows after each of some calls on the same rows."""
    rows = Dataset.from_list(data["rows"])

    def double(batch):
        return {"n": [x for x in batch["n"] for _ in range(2)]}

    def split(**options):
        labelled = rows.cast_column("label", ClassLabel(names=data["labels"]))
        parts = labelled.train_test_split(**options, stratify_by_column="label")
        return [[sum(1 for x in parts[part]["label"] if x == label) for label in range(len(data["labels"]))] for part in parts]

    three = [Dataset.from_list([{"x": f"{name}{i}"} for i in range(n)]) for name, n in zip("abc", data["lengths"])]
    streams = [one.to_iterable_dataset() for one in three]

    def mixed(sources, **options):
        return [row["x"] for row in interleave_datasets(sources, **options)]

    def sizes(**options):
        parts = rows.train_test_split(**options)
        return [len(parts["train"]), len(parts["test"])]

    made = {
        "merged": rows.map(lambda row: {"n": row["n"] + 1, "text": row["label"] + "!"}),
        "removed": rows.map(lambda row: {"n": 1 - row["n"]}, remove_columns=["n", "label"]),
        "none": rows.map(lambda row: None),
        "batched": rows.map(lambda batch: {"n": [x * 10 for x in batch["n"]]}, batched=True, batch_size=3),
        "doubled": rows.map(double, batched=True, remove_columns=rows.column_names),
        "sorted": rows.sort("n"),
        "descending": rows.sort(["label", "n"], reverse=[False, True]),
        "renamed": rows.rename_column("n", "number"),
        "only": rows.select_columns("label"),
        "shard": rows.shard(num_shards=3, index=1),
        "striped": rows.shard(num_shards=3, index=1, contiguous=False),
        "joined": concatenate_datasets([rows.take(2), rows.skip(5)]),
    }
    gaps = Dataset.from_list([{**row, "n": float("nan") if row["n"] == "nan" else row["n"]} for row in data["gaps"]])
    return {
        "rows": {name: one.to_list() for name, one in made.items()},
        "sorts": [gaps.sort(names, **options)["i"][:] for names, options in data["sorts"]],
        "stratified": [split(**options, seed=1) for options in data["splits"]],
        "sizes": [sizes(**options, seed=1) for options in data["sizes"]],
        "first": [row["n"] for row in rows.train_test_split(test_size=0.3, shuffle=False)["test"]],
        "mixed": [mixed(three, stopping_strategy=how) for how in data["strategies"]],
        "streamed": [mixed(streams, stopping_strategy=how) for how in data["strategies"]],
    }


def pack(data):
    """TRL's pack_dataset on lists of token ids."""
    from trl.data_utils import pack_dataset

    def packed(case):
        rows = Dataset.from_dict({"input_ids": case["rows"], "labels": case["labels"]})
        return pack_dataset(rows, case["most"], case["strategy"]).to_dict()

    return [packed(case) for case in data["cases"]]


def clone(data):
    """TRL's clone_chat_template: from one folder's tokenizer to another's, with the model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.chat_template_utils import clone_chat_template

    def cloned(case):
        model = AutoModelForCausalLM.from_pretrained(data["model"])
        tokenizer = AutoTokenizer.from_pretrained(data["tokenizer"])
        model, tokenizer, added = clone_chat_template(model, tokenizer, case["source"], case["multiple"])
        ids = tokenizer.apply_chat_template(data["messages"], return_dict=False)
        return {
            "added": added,
            "length": len(tokenizer),
            "rows": model.get_input_embeddings().weight.shape[0],
            "vocab_size": model.config.vocab_size,
            "eos": [tokenizer.eos_token, model.config.eos_token_id, model.generation_config.eos_token_id],
            "ids": ids,
        }

    return [cloned(case) for case in data["clones"]]


def trl(data):
    """Both at once: importing trl takes its time."""
    return {"packed": pack(data), "cloned": clone(data)}


if __name__ == "__main__":
    answer(globals())
