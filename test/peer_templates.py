"""Chat templates on the Python side. usage: peer_templates.py TASK INPUT OUTPUT"""


from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

from peer_main import answer


def rendered(render):
    """A text, or {"error"} with the exception's name."""
    try:
        return render()
    except Exception as error:
        return {"error": type(error).__name__}


def templates(data):
    """What transformers makes of templates, and of conversations with the tokenizers in folders; `resaved`: folders written anew."""
    tokenizers = {name: AutoTokenizer.from_pretrained(folder) for name, folder in data["tokenizers"].items()}
    for name, folder in data["resaved"].items():
        tokenizers[name].save_pretrained(folder)

    def chat(case):
        tokenizer, options = tokenizers[case["tokenizer"]], case["options"]
        text = tokenizer.apply_chat_template(case["messages"], tokenize=False, **options)
        encoded = tokenizer.apply_chat_template(case["messages"], return_dict=True, return_assistant_tokens_mask=case["marked"], **options)
        return {"text": text, "ids": encoded["input_ids"], "mask": encoded.get("assistant_masks")}

    return {
        "cases": [rendered(lambda: _compile_jinja_template(case["template"]).render(**case["variables"])) for case in data["cases"]],
        "chats": [rendered(lambda: chat(case)) for case in data["chats"]],
        "named": {name: tokenizer.chat_template for name, tokenizer in tokenizers.items()},
    }


if __name__ == "__main__":
    answer(globals())
