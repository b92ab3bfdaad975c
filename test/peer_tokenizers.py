"""Tokenizers on the Python side: the originals of GGUF files and what transformers does. usage: peer_tokenizers.py TASK INPUT OUTPUT"""

import json
import os
import re

import gguf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from peer_main import answer


def gpt2_like(source, digits):
    """A tokenizer.json of a byte-level vocabulary that exists as encoder.json and vocab.bpe, or only within a GGUF file."""
    if source.endswith(".gguf"):
        fields = gguf.GGUFReader(source).fields
        tokens = fields["tokenizer.ggml.tokens"].contents()
        special = [t for t, kind in zip(tokens, fields["tokenizer.ggml.token_type"].contents()) if kind == 3]
        merges = fields["tokenizer.ggml.merges"].contents()
        vocab = {token: id for id, token in enumerate(tokens)}
    else:
        vocab = json.load(open(os.path.join(source, "encoder.json"), encoding="utf-8"))
        lines = open(os.path.join(source, "vocab.bpe"), encoding="utf-8").read().split("\n")
        merges, special = [line for line in lines[1:] if line], ["<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in merges]))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]) if digits else level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


def looks_special(token):
    return token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]") or re.fullmatch(r"<\|.*\|>|<｜.*｜>|<unused.*>", token) is not None


def write_gguf(case, tokenizer):
    """The tokenizer's part of a GGUF file, as llama.cpp's convert_hf_to_gguf.py writes it."""
    writer = gguf.GGUFWriter(case["gguf"], case["architecture"])
    vocab = {id: token for token, id in tokenizer.get_vocab(with_added_tokens=True).items()}
    added = tokenizer.get_added_tokens_decoder()
    spm = case["model"] == "llama"
    tokens, types, scores = [], [], []
    for id in range(max(vocab) + 1 + case["padded"]):
        token, kind, score = vocab.get(id, f"[PAD{id}]"), gguf.TokenType.NORMAL, -float(id)
        if id not in vocab:
            kind, score = gguf.TokenType.UNUSED, -10000.0
        elif spm and token == "<unk>":
            kind, score = gguf.TokenType.UNKNOWN, 0.0
        elif spm and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            kind, score = gguf.TokenType.BYTE, 0.0
        elif id in added:
            if not added[id].normalized and not spm:
                token = tokenizer.decode(tokenizer.encode(token, add_special_tokens=False).ids, skip_special_tokens=False)
            kind, score = gguf.TokenType.CONTROL, -1000.0
            if not (added[id].special or looks_special(token)):
                kind, token = gguf.TokenType.USER_DEFINED, token.replace("\u2581", " ")
        elif spm and re.fullmatch("\u2581{2,}", token):
            score = -1e9
        tokens.append(token)
        types.append(kind)
        scores.append(-1000.0 if case.get("no_scores") else score)
    writer.add_tokenizer_model(case["model"])
    writer.add_tokenizer_pre(case["pre"])
    writer.add_token_list([token.encode() for token in tokens])
    if spm:
        writer.add_token_scores(scores)
    writer.add_token_types(types)
    folder = os.path.dirname(case["gguf"])
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    json.dump(case["config"], open(os.path.join(folder, "tokenizer_config.json"), "w"))
    gguf.SpecialVocab(folder, load_merges=not spm, n_vocab=len(tokens)).add_to_gguf(writer)
    if "add_space_prefix" in case:
        writer.add_add_space_prefix(case["add_space_prefix"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.remove(os.path.join(folder, "tokenizer.json"))


def gguf_tokenizers(data):
    """Writes a GGUF file of each vocabulary, and returns what its original makes of the texts."""
    results = []
    for case in data["cases"]:
        path = case["source"]
        tokenizer = Tokenizer.from_file(path) if path.endswith(".json") else gpt2_like(path, case["pre"] == "smollm")
        write_gguf(case, tokenizer)
        encoded = tokenizer.encode_batch(data["texts"], add_special_tokens=False)
        ids = [e.ids for e in encoded]
        results.append({"ids": ids, "decoded": tokenizer.decode_batch(ids + data["decode"], skip_special_tokens=False)})
    return results


def variants(data):
    """The vocabularies of folders behind other parts of tokenizer.json: ids and texts."""
    results = {}
    plain = {
        folder: json.load(open(os.path.join(folder, "tokenizer.json"))) if os.path.exists(os.path.join(folder, "tokenizer.json")) else json.loads(gpt2_like(folder, False).to_str())
        for folder in {part["folder"] for part in data["parts"].values()}
    }
    for name, part in data["parts"].items():
        base = plain[part["folder"]]
        whole = {**base, **part["json"], "model": {**base["model"], **part.get("model", {})}}
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        ids = [e.ids for e in tokenizer.encode_batch(data["texts"], add_special_tokens=False)]
        results[name] = {"ids": ids, "decoded": tokenizer.decode_batch(ids, skip_special_tokens=False)}
    return results


def splits(data):
    """The splits that transformers has for GGUF's names of them."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return GGUF_PRE_TOKENIZER_SPLITS


def facts_of(folder, texts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.encode(text) for text in texts]
    return {
        "special_tokens_map": tokenizer.special_tokens_map,
        "ids": {f"{name}_id": getattr(tokenizer, f"{name}_id") for name in tokenizer.special_tokens_map},
        "all_special_tokens": tokenizer.all_special_tokens,
        "all_special_ids": tokenizer.all_special_ids,
        "length": len(tokenizer),
        "vocab_size": tokenizer.vocab_size,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "model_max_length": min(tokenizer.model_max_length, 1e30),
        "chat_template": tokenizer.chat_template,
        "encoded": ids,
        "plain": [tokenizer.encode(text, add_special_tokens=False) for text in texts],
        "decoded": tokenizer.batch_decode(ids),
        "skipped": tokenizer.batch_decode(ids, skip_special_tokens=True),
        "unknown": tokenizer.convert_tokens_to_ids("no such token"),
    }


def facts(data):
    """What transformers says of the tokenizers in folders."""
    return [facts_of(folder, data["texts"]) for folder in data["folders"]]


def trained(kind, texts):
    """A small tokenizer of a kind, trained on some of the texts."""
    from tokenizers import Tokenizer, decoders, normalizers, processors, trainers

    if kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("\n", " ")])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
        trainer = trainers.UnigramTrainer(vocab_size=3000, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False)
    elif kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def vocabularies(data):
    """Ids and texts by Python's tokenizers, of vocabularies in folders or trained now; and what transformers makes of added tokens."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    results = []
    for case in data["cases"]:
        path = os.path.join(case["folder"], "tokenizer.json")
        if case["train"]:
            made = trained(case["train"], data["texts"])
            made.save(path)
            json.dump({}, open(os.path.join(case["folder"], "tokenizer_config.json"), "w"))
        tokenizer = Tokenizer.from_file(path)
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in data["texts"]]
        decoded = [tokenizer.decode(one, skip_special_tokens=False) for one in ids]
        offsets = [tokenizer.encode(text, add_special_tokens=False).offsets for text in data["some"]]
        tokens = [AddedToken(**t) if isinstance(t, dict) else t for t in data["added"]["tokens"]]
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
        wrapped.pad_token = wrapped.convert_ids_to_tokens(0)
        cut = []
        for sides in data["sides"]:
            wrapped.padding_side, wrapped.truncation_side = sides["padding_side"], sides["truncation_side"]
            row = wrapped(data["some"][:6], padding=True, truncation=True, max_length=8, pad_to_multiple_of=4)
            cut.append({"input_ids": row["input_ids"], "attention_mask": row["attention_mask"]})
        counts = [wrapped.add_tokens(tokens), wrapped.add_special_tokens({"extra_special_tokens": data["added"]["special"]})]
        added = [wrapped.encode(text, add_special_tokens=False) for text in data["wordy"]]
        text = [wrapped.decode(one, skip_special_tokens=True) for one in added]
        results.append({"ids": ids, "decoded": decoded, "counts": counts, "added": added, "text": text, "length": len(wrapped), "offsets": offsets, "cut": cut})
    return results


def sentencepieces(data):
    """Trains SentencePiece models into folders; what sentencepiece makes of texts, and transformers where the folder has a tokenizer_config.json."""
    import sentencepiece
    from transformers import AutoTokenizer

    results = []
    for case in data["cases"]:
        path = os.path.join(case["folder"], case["file"])
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(data["train"]), model_writer=open(path, "wb"), minloglevel=2, num_threads=1, **case["options"]
        )
        model = sentencepiece.SentencePieceProcessor(model_file=path)
        ids = [model.encode(text) for text in data["texts"]]
        result = {"ids": ids, "decoded": [model.decode(one) for one in ids], "pieces": model.get_piece_size(), "theirs": None}
        if case.get("config"):
            json.dump(case["config"], open(os.path.join(case["folder"], "tokenizer_config.json"), "w"))
            tokenizer = AutoTokenizer.from_pretrained(case["folder"])
            result["theirs"] = [tokenizer.encode(text) for text in data["texts"]]
        results.append(result)
    return results


def saved_json(data):
    """Ids by Python's tokenizers, of tokenizer.json files."""
    return [[e.ids for e in Tokenizer.from_file(path).encode_batch(data["texts"], add_special_tokens=False)] for path in data["files"]]


if __name__ == "__main__":
    answer(globals())
