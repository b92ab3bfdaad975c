"""Metrics of scikit-learn, sacrebleu and rouge_score, for test/evaluate/metrics.test.ts: metrics_peer.py <task> <input.json> <output.json>."""
import json
import math
import sys
import warnings

import numpy as np

warnings.filterwarnings("ignore")


def classification(case):
    from sklearn import metrics as m

    y, p, w = case["references"], case.get("predictions"), case.get("sample_weight")
    options = {k: (math.nan if v == "NaN" else v) for k, v in case["options"].items()}
    name = case["metric"]
    if name == "accuracy":
        return m.accuracy_score(y, p, sample_weight=w, **options)
    if name in ("precision", "recall", "f1"):
        return getattr(m, f"{name}_score")(y, p, sample_weight=w, **options)
    if name == "confusion_matrix":
        return m.confusion_matrix(y, p, sample_weight=w, **options)
    if name == "matthews_correlation":
        return m.matthews_corrcoef(y, p, sample_weight=w)
    if name == "roc_auc":
        return m.roc_auc_score(y, case["prediction_scores"], sample_weight=w, **options)
    if name == "brier_score":
        return m.brier_score_loss(y, case["prediction_scores"])
    if name == "calibration_error":
        from sklearn.calibration import calibration_curve

        true, predicted = calibration_curve(y, case["prediction_scores"], **options)
        return [true, predicted]
    if name == "report":
        return m.classification_report(y, p, **options)
    raise KeyError(name)


def texts(case):
    options = case["options"]
    if case["metric"] == "sacrebleu":
        from sacrebleu.metrics import BLEU

        names = {"use_effective_order": "effective_order"}
        bleu = BLEU(**{names.get(k, k): v for k, v in options.items()})
        count = max(len(r) for r in case["references"])
        streams = [[r[i] if i < len(r) else None for r in case["references"]] for i in range(count)]
        s = bleu.corpus_score(case["predictions"], streams)
        return [s.score, s.counts, s.totals, s.precisions, s.bp, s.sys_len, s.ref_len]
    from rouge_score.rouge_scorer import RougeScorer

    types = options.get("rouge_types", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
    scorer = RougeScorer(types)
    rows = [scorer.score_multi(r, p) for p, r in zip(case["predictions"], case["references"])]
    return {t: [row[t].fmeasure for row in rows] for t in types}


def binomial(cases):
    from scipy.stats import binomtest

    return [binomtest(min(a, b), a + b, 0.5).pvalue if a + b else 1.0 for a, b in cases]


def interval(case):
    from scipy.stats import bootstrap

    r = bootstrap((np.array(case["values"]),), np.mean, n_resamples=20000, method="percentile", rng=0).confidence_interval
    return [r.low, r.high]


def kappa(case):
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(case["a"], case["b"]))


def harness(case):
    """lm-evaluation-harness's own backend: logarithms of probabilities of continuations, and whether they are greedy."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=case["folder"], device="cpu", dtype="float32", batch_size=4)
    requests = [Instance("loglikelihood", {}, tuple(pair), i) for i, pair in enumerate(case["pairs"])]
    return [[float(a), bool(b)] for a, b in model.loglikelihood(requests, disable_tqdm=True)]


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (str, int)):
        return value
    return None if math.isnan(value) else float(value)


if __name__ == "__main__":
    task, source, target = sys.argv[1:]
    given = json.load(open(source))
    if task == "all":
        result = [classification(c) if c["kind"] == "labels" else texts(c) for c in given]
    else:
        result = {"binomial": binomial, "interval": interval, "harness": harness, "kappa": kappa}[task](given)
    json.dump(plain(result), open(target, "w"))
