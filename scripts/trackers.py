"""A tracker's own Python package, told of a run: a line of JSON on standard input for each thing, answers on standard output."""

import json
import os
import sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the package prints is none of our answers


def answer(**what):
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def main(tool):
    try:
        module = __import__(tool)
    except ImportError as error:
        return answer(missing=str(error))
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "init" in message:
                module.init(**message["init"])
                if tool == "wandb":
                    module.define_metric("train/global_step")
                    module.define_metric("*", step_metric="train/global_step", step_sync=True)
            elif "log" in message:
                module.log(message["log"], step=message["step"])
                continue
            elif "finish" in message:
                module.finish(**message["finish"])
            answer(done=True)
        except Exception as error:  # whatever it is, the run is told and goes on
            answer(failed=f"{type(error).__name__}: {error}")


main(sys.argv[1])
