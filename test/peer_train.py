"""What transformers' Trainer and plain torch do in training, for tests of the loop. usage: peer_train.py TASK INPUT OUTPUT"""

import tempfile

import torch
import transformers
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from peer_main import answer


def callbacks(data):
    """What a callback is told of runs over 8 rows, 4 a step: [hook, step, epoch, flags that are set] for each call."""
    rows = [{"input_ids": [1 + i, 2, 3], "labels": [1 + i, 2, 3], "attention_mask": [1, 1, 1]} for i in range(8)]

    def told(case):
        calls = []

        def hook(name):
            def call(self, args, state, control, **more):
                flags = sorted(flag for flag, is_set in vars(control).items() if is_set)
                calls.append([name, state.global_step, round(state.epoch, 6), " ".join(flags)])
                for flag, (at, step) in case["asks"].items():
                    if at == name and step == state.global_step:
                        setattr(control, flag, True)

            return call

        recorder = type("Recorder", (TrainerCallback,), {name: hook(name) for name in data["hooks"]})
        with tempfile.TemporaryDirectory() as folder:
            defaults = {"save_strategy": "no", "max_steps": 6, "per_device_train_batch_size": 4}
            args = TrainingArguments(folder, use_cpu=True, report_to="none", disable_tqdm=True, **{**defaults, **case["args"]})
            model = AutoModelForCausalLM.from_pretrained(data["folder"])
            trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows[:2], callbacks=[recorder])
            trainer.train()
        return calls

    return [told(case) for case in data["cases"]]


def evaluations(data):
    """What transformers' own callbacks make of evaluations: [best metric, its step, whether training is to stop, states] after each."""
    import transformers

    def told(case):
        with tempfile.TemporaryDirectory() as folder:
            args = TrainingArguments(folder, use_cpu=True, report_to="none", disable_tqdm=True, eval_strategy="steps", eval_steps=1, **case["args"])
            given = [getattr(transformers, name)(**options) for name, options in case["callbacks"].items()]
            trainer = Trainer(AutoModelForCausalLM.from_pretrained(data["folder"]), args, eval_dataset=[{}], callbacks=given)
            trainer.callback_handler.on_train_begin(args, trainer.state, trainer.control)
            for metrics in case["evaluations"]:
                trainer.state.global_step += 1
                trainer.control = trainer.callback_handler.on_evaluate(args, trainer.state, trainer.control, metrics)
                trainer._determine_best_metric(metrics, None)
                state = trainer.state
                yield [state.best_metric, state.best_global_step, trainer.control.should_training_stop, [c.state() for c in given]]

    return [list(told(case)) for case in data["cases"]]


def settings(data):
    """What transformers says of settings that it refuses, None of others; and the rates of each step of schedules."""
    return {"refused": refused(data), "rates": [rates(data["lr"], *case) for case in data["rates"]]}


def rates(lr, name, kwargs, warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = transformers.get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=kwargs)
    steps = []
    for _ in range(total):
        steps.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return steps


def plateaus(data):
    """The rate after each evaluation by torch's ReduceLROnPlateau, of each case."""
    all_rates = []
    for case in data["cases"]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=case["lr"])
        scheduler = transformers.get_scheduler("reduce_lr_on_plateau", optimizer, scheduler_specific_kwargs=case["kwargs"])
        told = []
        for value in case["values"]:
            scheduler.step(value)
            told.append(optimizer.param_groups[0]["lr"])
        all_rates.append(told)
    return all_rates


def refused(data):
    model = AutoModelForCausalLM.from_pretrained(data["folder"])

    def said(case):
        defaults = {"save_strategy": "no", "max_steps": 6, "use_cpu": True, "report_to": "none"}
        try:
            args = TrainingArguments("unused", **{**defaults, **case["args"]})
            Trainer(model, args, train_dataset=[{}], eval_dataset=[{}] if case["rows"] else None)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return [said(case) for case in data["cases"]]


def preference(data):
    """DPO from each of some given adapters with PEFT and torch."""
    return [preferred(case) for case in data["cases"]]


def dft(data):
    """Losses and gradient norms of steps by TRL's dft_loss with PEFT, from each of some given adapters."""
    return [weighed(case) for case in data["cases"]]


def weighed(data):
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(data["model"]), data["adapter"], is_trainable=True)
    model.eval()  # there is no dropout
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=data["lr"], weight_decay=0)
    steps = []
    for batch in data["batches"]:
        optimizer.zero_grad()
        each = []
        for text in batch:
            ids = torch.tensor([text["input_ids"]])
            logps = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
            each.append(logps[torch.tensor(text["trained"][1:])])
        logps = torch.cat(each)
        loss = -(logps.exp().detach() * logps).sum() / len(logps)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        steps.append([loss.item(), norm.item()])
    return steps


def preferred(data):
    """Losses, gradient norms and the share of pairs in order of each step, and an evaluation."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(data["model"]), data["adapter"], is_trainable=True)
    model.eval()  # there is no dropout

    def log_probability(text):
        ids = torch.tensor([text["input_ids"]])
        each = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
        return (each * torch.tensor(text["trained"][1:])).sum()

    def margins(pairs):
        ours = torch.stack([log_probability(p["chosen"]) - log_probability(p["rejected"]) for p in pairs])
        with torch.no_grad(), model.disable_adapter():
            reference = torch.stack([log_probability(p["chosen"]) - log_probability(p["rejected"]) for p in pairs])
        return data["beta"] * (ours - reference)

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=data["lr"], weight_decay=0)
    steps = []
    for batch in data["batches"]:
        optimizer.zero_grad()
        margin = margins(batch)
        loss = -torch.nn.functional.logsigmoid(margin).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        steps.append([loss.item(), norm.item(), (margin > 0).float().mean().item(), margin.mean().item()])
    with torch.no_grad():
        margin = margins(data["eval"])
    return {"steps": steps, "eval": [-torch.nn.functional.logsigmoid(margin).mean().item(), (margin > 0).float().mean().item()]}


if __name__ == "__main__":
    answer(globals())
