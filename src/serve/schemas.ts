/** What requests may say, as JSON Schema: checked before a request is read, and shown in the OpenAPI document. */

type Schema = Record<string, unknown>;
const object = (properties: Record<string, Schema>, required: string[] = [], rest: Schema = {}): Schema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
  ...rest,
});
const described = (schema: Schema, description: string): Schema => ({ ...schema, description });
const orNull = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });
const list = (items: Schema, rest: Schema = {}): Schema => ({ type: 'array', items, ...rest });
const TEXT = { type: 'string' };
const NAME = { type: 'string', minLength: 1, maxLength: 512 };
const BOOLEAN = { type: 'boolean' };
const ANY_OBJECT = { type: 'object', additionalProperties: true };
const whole = (minimum: number, maximum = 2 ** 31 - 1): Schema => ({ type: 'integer', minimum, maximum });
const number = (minimum: number, maximum: number): Schema => ({ type: 'number', minimum, maximum });

/** What both kinds of completion are asked for. */
const WRITING: Record<string, Schema> = {
  model: described(NAME, 'The model or one of its adapters, by the name that /v1/models gives it.'),
  n: described(orNull(whole(1, 128)), 'How many answers. Default: 1.'),
  temperature: described(orNull(number(0, 100)), "0 takes the likeliest token each time. Default: the model's own, else 1."),
  top_p: described(orNull({ type: 'number', exclusiveMinimum: 0, maximum: 1 }), "Default: the model's own, else 1."),
  top_k: described(orNull(whole(-1)), "0 or -1: among all tokens. Default: the model's own, else all."),
  min_p: described(orNull(number(0, 1)), 'Default: 0.'),
  presence_penalty: described(orNull(number(-2, 2)), 'Default: 0.'),
  frequency_penalty: described(orNull(number(-2, 2)), 'Default: 0.'),
  repetition_penalty: described(orNull({ type: 'number', exclusiveMinimum: 0, maximum: 100 }), "Default: the model's own, else 1."),
  max_tokens: described(orNull(whole(0)), 'Tokens of the answer, at most.'),
  min_tokens: described(orNull(whole(0)), 'Tokens of the answer before it may end. Default: 0.'),
  seed: described(orNull({ type: 'integer', minimum: -(2 ** 53) + 1, maximum: 2 ** 53 - 1 }), 'The same seed draws the same answer.'),
  stop: described(orNull({ anyOf: [NAME, list(NAME, { maxItems: 16 })] }), 'Texts that end the answer; they are not part of it.'),
  stop_token_ids: described(orNull(list(whole(0), { maxItems: 64 })), 'Tokens that end the answer beside the end token.'),
  ignore_eos: described(orNull(BOOLEAN), 'Whether the end token ends nothing. Default: false.'),
  logit_bias: described(
    orNull({ type: 'object', maxProperties: 1024, propertyNames: { pattern: '^[0-9]{1,9}$' }, additionalProperties: number(-100, 100) }),
    'Added to the logits of tokens, by their ids.',
  ),
  stream: described(orNull(BOOLEAN), 'The answer as it is written, by server-sent events. Default: false.'),
  stream_options: orNull(object({ include_usage: BOOLEAN, include_obfuscation: { type: 'boolean', enum: [false] } })),
  structured_outputs: described(
    orNull(
      object({
        json: orNull(ANY_OBJECT),
        json_object: orNull(BOOLEAN),
        choice: orNull(list(NAME, { minItems: 1, maxItems: 1024 })),
        regex: orNull(NAME),
      }),
    ),
    'What the answer has to be, one of these: JSON of a schema, any JSON object, one of some texts, what a regular expression matches.',
  ),
  user: described(orNull(TEXT), 'Changes nothing here.'),
  metadata: described(orNull(ANY_OBJECT), 'Changes nothing here.'),
  store: described(orNull({ type: 'boolean', enum: [false] }), 'Nothing is stored.'),
  service_tier: described(orNull({ type: 'string', enum: ['auto', 'default'] }), 'There is one.'),
};

const PART = object({ type: { type: 'string', enum: ['text'] }, text: TEXT }, ['type', 'text']);
const CONTENT = { anyOf: [TEXT, list(PART, { minItems: 1 })] };
const CALL = object(
  {
    id: TEXT,
    type: { type: 'string', enum: ['function'] },
    function: object({ name: NAME, arguments: TEXT }, ['name', 'arguments']),
    index: whole(0),
  },
  ['function'],
);
const MESSAGE = {
  anyOf: [
    object({ role: { type: 'string', enum: ['system', 'developer', 'user'] }, content: CONTENT, name: TEXT }, ['role', 'content']),
    object(
      {
        role: { type: 'string', enum: ['assistant'] },
        content: orNull(CONTENT),
        name: TEXT,
        refusal: orNull(TEXT),
        reasoning_content: orNull(TEXT),
        tool_calls: orNull(list(CALL, { minItems: 1 })),
        audio: { type: 'null' },
        function_call: { type: 'null' },
        annotations: orNull(list(ANY_OBJECT)),
      },
      ['role'],
    ),
    object({ role: { type: 'string', enum: ['tool'] }, content: CONTENT, tool_call_id: TEXT, name: TEXT }, ['role', 'content']),
  ],
};
const FUNCTION = object({ name: NAME, description: TEXT, parameters: ANY_OBJECT, strict: orNull(BOOLEAN) }, ['name']);
const TOOL = object({ type: { type: 'string', enum: ['function'] }, function: FUNCTION }, ['type', 'function']);
const CHOICE = {
  anyOf: [
    { type: 'string', enum: ['none', 'auto', 'required'] },
    object({ type: { type: 'string', enum: ['function'] }, function: object({ name: NAME }, ['name']) }, ['type', 'function']),
  ],
};
const FORMAT = {
  anyOf: [
    object({ type: { type: 'string', enum: ['text', 'json_object'] } }, ['type']),
    object(
      {
        type: { type: 'string', enum: ['json_schema'] },
        json_schema: object({ name: NAME, description: TEXT, schema: ANY_OBJECT, strict: orNull(BOOLEAN) }, ['name', 'schema']),
      },
      ['type', 'json_schema'],
    ),
  ],
};

export const CHAT_REQUEST = object(
  {
    messages: list(MESSAGE, { minItems: 1, maxItems: 4096 }),
    ...WRITING,
    max_completion_tokens: described(orNull(whole(1)), "max_tokens by its newer name. Default: what the model's positions leave."),
    logprobs: described(orNull(BOOLEAN), 'Whether the answer has the log-probability of each token. Default: false.'),
    top_logprobs: described(orNull(whole(0, 20)), 'So many of the likeliest tokens at each place; needs logprobs.'),
    tools: orNull(list(TOOL, { maxItems: 128 })),
    tool_choice: orNull(CHOICE),
    parallel_tool_calls: described(orNull(BOOLEAN), 'false: of several calls the first is given. Default: true.'),
    response_format: described(orNull(FORMAT), 'What the answer must be.'),
    chat_template_kwargs: described(orNull(ANY_OBJECT), "Variables of the model's chat template."),
    add_generation_prompt: described(orNull(BOOLEAN), "Whether the prompt ends with the answer's beginning. Default: true."),
    continue_final_message: described(orNull(BOOLEAN), 'Whether the last message is gone on with. Default: false.'),
  },
  ['messages', 'model'],
);

const IDS = list(whole(0), { minItems: 1 });

export const COMPLETION_REQUEST = object(
  {
    prompt: described(
      { anyOf: [TEXT, list(TEXT, { minItems: 1, maxItems: 256 }), IDS, list(IDS, { minItems: 1, maxItems: 256 })] },
      'A text, several, or token ids.',
    ),
    ...WRITING,
    max_tokens: described(orNull(whole(0)), 'Tokens of the answer, at most. Default: 16.'),
    echo: described(orNull(BOOLEAN), 'Whether the prompt stands before its answer; with logprobs those of its tokens too. Default: false.'),
    logprobs: described(orNull(whole(0, 20)), 'The log-probability of each token, and of so many of the likeliest ones.'),
    best_of: described(orNull(whole(1, 128)), 'The best n of so many answers, by the mean log-probability of their tokens. Default: n.'),
    suffix: described({ type: 'null' }, 'Text behind the answer is not known here.'),
    add_special_tokens: described(orNull(BOOLEAN), 'Whether texts get the tokens that the tokenizer puts around each. Default: true.'),
  },
  ['prompt', 'model'],
);

export const EMBEDDING_REQUEST = object(
  {
    input: {
      anyOf: [
        { type: 'string', minLength: 1 },
        list({ type: 'string', minLength: 1 }, { minItems: 1, maxItems: 2048 }),
        IDS,
        list(IDS, { minItems: 1, maxItems: 2048 }),
      ],
    },
    model: NAME,
    encoding_format: described({ type: 'string', enum: ['float', 'base64'] }, 'Default: float.'),
    dimensions: described(orNull(whole(1)), 'So many of the first values, made of length 1 again. Default: all.'),
    user: TEXT,
  },
  ['input', 'model'],
);

export const LOAD_REQUEST = object(
  {
    lora_name: described(NAME, 'The name that requests ask for it by.'),
    lora_path: described(NAME, "A folder of the server's, or a name on the Hub."),
    load_inplace: described(BOOLEAN, 'Whether it takes the place of one of this name. Default: false.'),
  },
  ['lora_name', 'lora_path'],
);

export const UNLOAD_REQUEST = object({ lora_name: NAME, lora_int_id: orNull(whole(0)) }, ['lora_name']);

const ERROR = object(
  { error: object({ message: TEXT, type: TEXT, param: orNull(TEXT), code: orNull(TEXT) }, ['message', 'type', 'param', 'code']) },
  ['error'],
);
const USAGE = object({ prompt_tokens: whole(0), completion_tokens: whole(0), total_tokens: whole(0) }, ['prompt_tokens', 'total_tokens']);
const CHOICES = list(ANY_OBJECT);
const made = (kind: string) =>
  object({ id: TEXT, object: { type: 'string', enum: [kind] }, created: whole(0), model: TEXT, choices: CHOICES, usage: USAGE }, [
    ...['id', 'object', 'created', 'model', 'choices', 'usage'],
  ]);
const MODEL = object(
  {
    id: TEXT,
    object: { type: 'string', enum: ['model'] },
    created: whole(0),
    owned_by: TEXT,
    root: TEXT,
    parent: orNull(TEXT),
    max_model_len: whole(1),
  },
  ['id', 'object', 'created', 'owned_by', 'parent'],
);

/** What is answered; by their names. */
export const REPLIES = {
  chat: made('chat.completion'),
  completion: made('text_completion'),
  models: object({ object: { type: 'string', enum: ['list'] }, data: list(MODEL) }, ['object', 'data']),
  model: MODEL,
  embeddings: object(
    {
      object: { type: 'string', enum: ['list'] },
      data: list(object({ object: TEXT, index: whole(0), embedding: { anyOf: [list({ type: 'number' }), TEXT] } })),
      model: TEXT,
      usage: USAGE,
    },
    ['object', 'data', 'model', 'usage'],
  ),
  health: object({ status: TEXT }),
} as const;

/** What may go wrong, for the document. */
const WRONG: Record<number, string> = {
  400: 'The request says something that cannot be.',
  401: 'The API key is missing or wrong.',
  403: 'This server does not let clients do so.',
  404: 'There is no such model or path.',
  405: 'The path has other methods.',
  408: 'The request did not arrive in time.',
  413: 'The body is larger than this server takes.',
  415: 'The body is not JSON.',
  500: 'The server is at fault.',
  503: 'There is too much to do, or the server is closing; try again.',
  504: 'The answer was not written in time.',
};

const json = (schema: Schema, description: string) => ({ description, content: { 'application/json': { schema } } });
const EVENTS = { 'text/event-stream': { schema: TEXT } };

/** The replies of a path: what it answers, and what may go wrong. */
export function replies(ok: Schema | 'text', wrong: number[], streams = false): Record<string, unknown> {
  const good =
    ok === 'text'
      ? { description: 'Done.', content: { 'text/plain': { schema: TEXT } } }
      : { description: 'The answer.', content: { 'application/json': { schema: ok }, ...(streams ? EVENTS : {}) } };
  return { 200: good, ...Object.fromEntries(wrong.map((status) => [status, json(ERROR, WRONG[status])])) };
}
