import { afterAll, beforeAll, expect, it } from 'vitest';
import { AutoModelForCausalLM, get_peft_model, LoraConfig } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { LORA_FIELDS, SHARED_FIELDS } from '../../src/peft/fields';
import type { LoraOptions } from '../../src/peft/lora';
import { pairsIn } from '../../src/peft/lora_term';
import { fullMatch } from '../../src/peft/patterns';
import { peer } from '../peer';
import { tinyLlama } from '../tiny';

let folder: string;
let model: CausalLM;
beforeAll(async () => {
  folder = await tinyLlama(6, { num_hidden_layers: 3, tie_word_embeddings: false });
  model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
});
afterAll(() => model.dispose());

/** A value that uses each field that LoraOptions does not have. */
const USED: Record<string, unknown> = {
  alora_invocation_tokens: [1, 2],
  arrow_config: { top_k: 2 },
  corda_config: { corda_method: 'kpm' },
  ensure_weight_tying: true,
  eva_config: { rho: 3 },
  kasa_config: { beta: 1 },
  layer_replication: [[0, 1]],
  lora_ga_config: { scale: 'unit' },
  megatron_config: { a: 1 },
  monteclora_config: { num_samples: 2 },
  runtime_config: { ephemeral_gpu_offload: true },
  target_parameters: ['x'],
  trainable_token_indices: [1],
  use_bdlora: { nblocks: 2 },
  use_qalora: true,
  velora_config: { num_groups: 2 },
};

it("every field of PEFT's LoraConfig is obeyed, refused with its reason, or without effect", () => {
  const { fields, written } = peer<{ fields: string[]; written: Record<string, unknown> }>('lora_fields', {});
  const config = new LoraConfig();
  const known = [...Object.keys({ ...LORA_FIELDS, ...SHARED_FIELDS }), ...Object.keys(config)];
  expect(
    fields.filter((name) => !known.includes(name)),
    'fields of PEFT that tunebook does not know',
  ).toEqual([]);
  expect(
    known.filter((name) => !fields.includes(name)),
    'fields that PEFT does not have',
  ).toEqual([]);
  const ours = JSON.parse(config.toJson('base'));
  const { peft_version: _, base_model_name_or_path: __, inference_mode: ___, ...theirs } = written;
  expect(ours).toEqual({ ...theirs, base_model_name_or_path: 'base', inference_mode: true });
  for (const [name, { would, unused, initial }] of Object.entries({ ...LORA_FIELDS, ...SHARED_FIELDS })) {
    expect(() => new LoraConfig({ [name]: unused })).not.toThrow();
    expect(Boolean(would), name).toBe(Object.hasOwn(USED, name));
    if (!would) continue;
    const used = { [name]: USED[name] };
    expect(() => new LoraConfig(used)).toThrow(`LoraConfig: ${name} = `);
    if (initial) expect(() => new LoraConfig(used, true)).not.toThrow();
    else expect(() => new LoraConfig(used, true)).toThrow('does not have yet: it would ');
  }
});

/** Configs whose modules, ranks and scales are compared with PEFT's; of those that are errors in both, what ours says. */
const MATCHING: [Partial<LoraOptions>, RegExp?][] = [
  [{}],
  [{ target_modules: 'all-linear' }],
  [{ target_modules: 'ALL-LINEAR', exclude_modules: ['q_proj', 'layers.0.mlp.up_proj'] }],
  [{ target_modules: ['lm_head'] }],
  [{ target_modules: ['embed_tokens'] }],
  [{ target_modules: ['embed_tokens', 'lm_head', 'v_proj'] }],
  [{ target_modules: ['model.layers.1.self_attn.q_proj', 'mlp.down_proj'] }],
  [{ target_modules: ['0.self_attn.k_proj'] }],
  [{ target_modules: '.*_proj' }],
  [{ target_modules: String.raw`model\.layers\.(?P<n>\d)\..*\.(q|v)_proj` }],
  [{ target_modules: String.raw`(?i)\Amodel\.LAYERS\.[02]\.mlp\.(gate|up)_proj\Z` }],
  [{ target_modules: '.*q_proj|lm_head' }],
  [{ target_modules: 'q_proj' }, /'q_proj' match no module/],
  [{ target_modules: '.*_proj', exclude_modules: String.raw`.*\.mlp\..*` }],
  [{ target_modules: 'all-linear', exclude_modules: String.raw`.*\.[01]\..*|.*v_proj` }],
  [{ target_modules: 'all-linear', exclude_modules: '.*' }, /leave no module/],
  [{ target_modules: ['q_proj'], layers_to_transform: 1 }],
  [{ target_modules: ['q_proj', 'mlp.up_proj'], layers_to_transform: [0, 2] }],
  [{ target_modules: ['q_proj', 'model.layers.2.mlp.up_proj'], layers_to_transform: [0] }],
  [{ target_modules: ['q_proj'], layers_to_transform: [1], layers_pattern: 'layers' }],
  [{ target_modules: ['q_proj'], layers_to_transform: [2], layers_pattern: ['h', 'lay.rs'] }],
  [{ target_modules: ['q_proj'], layers_to_transform: [] }],
  [{ target_modules: ['q_proj', 'lm_head'], layers_to_transform: [1] }],
  [{ target_modules: ['q_proj'], layers_to_transform: [9] }, /layers_to_transform has 9, but no target module is in such a layer/],
  [{ target_modules: ['q_proj'], layers_to_transform: [1], layers_pattern: 'h' }, /no target module is in such a layer of 'h'/],
  [{ target_modules: '.*q_proj', layers_to_transform: [1] }, /layers_to_transform = \[1\] works beside a list of target_modules/],
  [{ target_modules: ['q_proj'], layers_pattern: 'layers' }, /layers_pattern = 'layers' needs layers_to_transform/],
  [{ target_modules: ['input_layernorm'] }, /target module model.layers.0.input_layernorm is not supported/],
  [{ target_modules: ['q_proj', 'norm'] }, /target module model.norm is not supported/],
  [{ target_modules: ['mlp'] }, /target module model.layers.0.mlp is not supported/],
  [{ target_modules: '.*' }, /target module model is not supported/],
  [{ target_modules: ['nothing'] }, /'nothing' match no module/],
  [{ target_modules: [] }, /target_modules is empty/],
  [{ target_modules: 'all-linear', rank_pattern: { q_proj: 2, 'mlp.up_proj|v_proj': 3, '^model.layers.1.mlp.down_proj': 5 } }],
  [{ target_modules: 'all-linear', alpha_pattern: { '1.self_attn.q_proj': 32, '(q|k)_proj': 2 }, use_rslora: true }],
  [{ target_modules: 'all-linear', rank_pattern: { q_proj: 2, '.*': 3 }, r: 5, lora_alpha: 7 }],
];

/** Python's regular expressions: what it takes, ours translates or refuses by name; what it refuses, ours does not take. */
const PATTERNS: [pattern: string, name: string][] = [
  ['.*q_proj', 'a.q_proj'],
  ['q_proj', 'a.q_proj'],
  ['a|a.b', 'a.b'],
  ['(?P<x>a)(?P=x)', 'aa'],
  [String.raw`(a)\1`, 'aa'],
  [String.raw`\Aab\Z`, 'ab'],
  ['(?i)AB', 'ab'],
  ['(?s).b', 'ab'],
  ['a(?#said)b', 'ab'],
  ['a{,2}', 'aa'],
  ['a{,2}', 'aaa'],
  ['a{1,}b', 'aab'],
  ['a{,}', ''],
  ['a{x}', 'a{x}'],
  ['[]a]+', ']a'],
  ['[^]a]', ']'],
  [String.raw`[\w.]+`, 'a.b'],
  [String.raw`a\.b`, 'axb'],
  [String.raw`\x61\u0062`, 'ab'],
  [String.raw`a\-b\_c`, 'a-b_c'],
  ['(?:a|b)+?', 'ab'],
  ['(?!b)a', 'a'],
  ['(?<=a)b|ab', 'ab'],
  ['(', 'a'],
  ['a)(b', 'ab'],
  ['*a', 'a'],
  ['a**', 'a'],
  [String.raw`a\y`, 'ay'],
  ['a\\', 'a'],
  ['[a', 'a'],
  ['(?<x>a)', 'a'],
  ['a(?i)b', 'ab'],
  [String.raw`\x6`, 'x6'],
];
/** What Python has and JavaScript has not. */
const REFUSED: [string, RegExp][] = [
  ['a++', /possessive quantifier \+\+, which JavaScript does not have\. Write \+/],
  ['(?>a)b', /'\(\?>a\)', which cannot be taken over from Python/],
  ['(?i:a)b', /'\(\?i:a', which cannot be taken over/],
  ['(a)(?(1)b|c)', /which cannot be taken over/],
  ['(?x)a b', /which cannot be taken over/],
  [String.raw`\N{DIGIT ONE}`, /escape \\N, which cannot be taken over/],
];

it('modules, ranks and scales are those that PEFT finds, and patterns are those of Python', () => {
  const { found, answers } = peer<{ found: (Record<string, [number, number]> | string)[]; answers: (boolean | null)[] }>('lora_matching', {
    model: folder,
    configs: MATCHING.map(([config]) => config),
    patterns: PATTERNS,
  });
  for (const [i, [config, error]] of MATCHING.entries()) {
    const what = JSON.stringify(config);
    const attach = () => get_peft_model(model, new LoraConfig(config));
    if (error) {
      expect(typeof found[i], `${what} in PEFT`).toBe('string');
      expect(attach, what).toThrow(error);
      continue;
    }
    const peft = attach();
    const ours = Object.fromEntries([...pairsIn(peft.attached)].map(([path, { a, scale }]) => [path, [a.shape[0], scale]]));
    peft.unload();
    expect(ours, what).toEqual(found[i]);
  }
  for (const [i, [pattern, name]] of PATTERNS.entries()) {
    if (answers[i] === null) expect(() => fullMatch(pattern, 'x'), pattern).toThrow(/^x: /);
    else expect(fullMatch(pattern, 'x')(name), `${pattern} on ${name}`).toBe(answers[i]);
  }
  for (const [pattern, error] of REFUSED) expect(() => fullMatch(pattern, 'x'), pattern).toThrow(error);
});
