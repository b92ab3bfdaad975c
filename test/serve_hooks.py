"""Half of what schemathesis sends names a model that there is, and asks for little, so that requests get as far as the model."""
import schemathesis


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 2:
        body["model"] = ["tiny", "one", "two"][len(body["model"]) % 3]
        for name in ("max_tokens", "max_completion_tokens", "n", "best_of"):
            if isinstance(body.get(name), int) and body[name] > 4:
                body[name] = 4
    return body
