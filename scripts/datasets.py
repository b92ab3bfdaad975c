"""Labelled texts out of packages: datasets.py <film|shop|mail> <unpacked package> <folder> writes train, validation and test.jsonl.

Rows are {text, label}. Rows that are nearly the same, and sentences of one review, are on one side of the split; of nearly the same
ones in validation and test a single one is left. Labels have the same shares everywhere. The same package gives the same files.
"""
import collections
import email
import email.header
import email.policy
import hashlib
import html.parser
import json
import os
import random
import re
import sys

SIZES = {"film": (500, 1000), "shop": (250, 500), "mail": (250, 500)}


def normal(text):
    return re.findall(r"[a-z]+", text.lower())


def sketch(text, words=4, kept=48):
    """The smallest hashes of a text's runs of words: how much two texts share of these is how much they share (Broder 1997)."""
    tokens = normal(text)
    runs = {" ".join(tokens[i : i + words]) for i in range(max(1, len(tokens) - words + 1))}
    return sorted(int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs)[:kept]


class Groups:
    """Which rows belong together."""

    def __init__(self, n):
        self.parent = list(range(n))

    def find(self, i):
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i, j):
        self.parent[self.find(i)] = self.find(j)


def near_duplicates(texts, share=0.5):
    """Pairs whose sketches have at least this share in common."""
    sketches = [sketch(text) for text in texts]
    where = collections.defaultdict(list)
    for i, hashes in enumerate(sketches):
        for value in hashes:
            where[value].append(i)
    for i, hashes in enumerate(sketches):
        common = collections.Counter(j for value in hashes for j in where[value][:200] if j < i)
        for j, count in common.items():
            if count >= share * min(len(hashes), len(sketches[j])):
                yield j, i


def split(rows, sizes, seed=0):
    """(train, validation, test): `rows` are {text, label, group}."""
    groups, alike = Groups(len(rows)), Groups(len(rows))
    first = {}
    for i, row in enumerate(rows):
        groups.join(i, first.setdefault(row["group"], i))
    for i, j in near_duplicates([row["text"] for row in rows]):
        groups.join(i, j)
        alike.join(i, j)
    members = collections.defaultdict(list)
    for i in range(len(rows)):
        members[groups.find(i)].append(i)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    labels = collections.Counter(row["label"] for row in rows)
    parts = []
    for size in sizes:
        left = collections.Counter({label: round(size * count / len(rows)) for label, count in labels.items()})
        part = []
        for key in [k for k in order if members[k]]:
            chosen = list({alike.find(i): i for i in reversed(members[key])}.values())
            need = collections.Counter(rows[i]["label"] for i in chosen)
            # Large clusters stay in training: they would be most of a small set.
            if len(chosen) <= size // 20 and all(left[label] >= n for label, n in need.items()):
                part += chosen
                left.subtract(need)
                members[key] = []
        parts.append(sorted(part))
    return [sorted(i for its in members.values() for i in its), *parts]


def sentences(folder, name):
    """Texts with the mean of human ratings from -4 to 4; those within 0.5 of 0 are left out, since people do not agree on them, and
    those of a single word."""
    path = os.path.join(folder, "hutto_ICWSM_2014", name + "ReviewSnippets_GroundTruth.txt")
    for line in open(path, encoding="utf-8"):
        key, rating, text = line.rstrip("\r\n").split("\t")
        if abs(float(rating)) > 0.5 and len(normal(text)) > 1:
            yield {"text": re.sub(r"\s+", " ", text).strip(), "label": int(float(rating) > 0), "group": key.split("_")[0]}


class Plain(html.parser.HTMLParser):
    """The text of a page."""

    def __init__(self):
        super().__init__()
        self.parts, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("style", "script", "title")
        if tag in ("br", "p", "div", "tr", "li", "td"):
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script", "title") and self.hidden > 0

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def decoded(part):
    data = part.get_payload(decode=True) or b""
    try:
        return data.decode(part.get_content_charset() or "latin-1", "replace")
    except LookupError:
        return data.decode("latin-1")


def body(message):
    """The readable text of a mail: its plain part, or what its page says."""
    parts = [p for p in message.walk() if p.get_content_maintype() == "text"]
    parts.sort(key=lambda p: p.get_content_subtype() != "plain")
    for part in parts:
        text = decoded(part)
        if part.get_content_subtype() == "html" or re.search(r"<(html|body|table|p|br)\b", text, re.I):
            page = Plain()
            page.feed(text)
            text = "".join(page.parts)
        if text.strip():
            return text
    return ""


def mails(folder):
    """Subject and text; not the other headers, by which a machine could tell the two archives apart."""
    data = os.path.join(folder, "data")
    for group in sorted(os.listdir(data)):
        if not os.path.isdir(os.path.join(data, group)):
            continue
        for file in sorted(os.listdir(os.path.join(data, group))):
            if not file.endswith(".json"):
                continue
            source = json.load(open(os.path.join(data, group, file), encoding="utf-8"))
            message = email.message_from_string(source["text"], policy=email.policy.compat32)
            subject = str(email.header.make_header(safe_header(message["subject"])))
            # What lists and filters write into mails names their archive.
            subject = re.sub(r"\[[^\]]*\]\s*", "", re.sub(r"^((re|fwd?)\s*:\s*)+", "", subject.strip(), flags=re.I))
            text = re.split(r"\n_{20,}\n|\n-{20,}\n", body(message))[0]
            text = re.sub(r"\s+", " ", text).strip()
            if len(text) >= 40:
                subject = re.sub(r"\s+", " ", subject).strip()
            yield {"text": f"Subject: {subject}\n{text}", "label": int(group.startswith("spam")), "group": file}


def safe_header(value):
    """A header's parts with their character sets; of a header that is not one, its plain characters."""
    try:
        pairs = email.header.decode_header(str(value or ""))
        for text, charset in pairs:
            if isinstance(text, bytes):
                text.decode(charset or "latin-1")
        return pairs
    except Exception:
        return [(re.sub(r"[^\x20-\x7e]", "?", str(value or "")), None)]


def main(name, folder, target):
    rows = list(mails(folder) if name == "mail" else sentences(folder, {"film": "movie", "shop": "amazon"}[name]))
    os.makedirs(target, exist_ok=True)
    for part, chosen in zip(("train", "validation", "test"), split(rows, SIZES[name])):
        random.Random(1).shuffle(chosen)
        with open(os.path.join(target, part + ".jsonl"), "w", encoding="utf-8") as out:
            for i in chosen:
                out.write(json.dumps({"text": rows[i]["text"], "label": rows[i]["label"]}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
