"""How the scripts beside it answer: <script> <task> <input.json> <output.json>, a function of theirs by its name."""
import json
import sys


def answer(tasks):
    task, source, target = sys.argv[1:]
    with open(source) as file:
        result = tasks[task](json.load(file))
    with open(target, "w") as file:
        json.dump(result, file)
