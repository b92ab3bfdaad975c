import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { Random } from '../src/core/random';
import { writeSafetensors } from '../src/formats/safetensors';
import { Tokenizer } from '../src/tokenizers/tokenizer';

/** A fresh folder for one test. */
export const scratch = (name = 'test'): string => mkdtempSync(join(tmpdir(), `tunebook-${name}-`));

export const TINY = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: 264,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  eos_token_id: 258,
  pad_token_id: 258,
};

/** Writes a random Llama of a few thousand parameters as Hugging Face folders look; returns the folder. */
export async function tinyLlama(seed = 1, config: Partial<typeof TINY> = {}): Promise<string> {
  const c = { ...TINY, ...config };
  const random = Random.seeded(seed);
  const tensor = (name: string, shape: number[], value?: number) => ({
    name,
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => value ?? random.normal() * 0.08),
  });
  const kv = (c.hidden_size / c.num_attention_heads) * c.num_key_value_heads;
  const tensors = [tensor('model.embed_tokens.weight', [c.vocab_size, c.hidden_size]), tensor('model.norm.weight', [c.hidden_size], 1)];
  if (!c.tie_word_embeddings) tensors.push(tensor('lm_head.weight', [c.vocab_size, c.hidden_size]));
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const at = `model.layers.${i}`;
    for (const [name, out, into] of [
      ['self_attn.q_proj', c.hidden_size, c.hidden_size],
      ['self_attn.k_proj', kv, c.hidden_size],
      ['self_attn.v_proj', kv, c.hidden_size],
      ['self_attn.o_proj', c.hidden_size, c.hidden_size],
      ['mlp.gate_proj', c.intermediate_size, c.hidden_size],
      ['mlp.up_proj', c.intermediate_size, c.hidden_size],
      ['mlp.down_proj', c.hidden_size, c.intermediate_size],
    ] as const)
      tensors.push(tensor(`${at}.${name}.weight`, [out, into]));
    for (const name of ['input_layernorm', 'post_attention_layernorm']) tensors.push(tensor(`${at}.${name}.weight`, [c.hidden_size], 1));
  }
  const folder = scratch('tiny-llama');
  writeFileSync(join(folder, 'config.json'), JSON.stringify(c));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

/** GPT-2's visible characters for the 256 bytes, which byte-level tokenizers use. */
function byteAlphabet(): string[] {
  const visible = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let extra = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(visible(b) ? b : extra++));
}

/** One token a byte, ChatML markers as 256-258 and 259-263 unused; or other markers and settings, and added tokens that are text. */
export function tinyTokenizer(
  config: Record<string, unknown> = {},
  specials = ['<|im_start|>', '<|pad|>', '<|im_end|>'],
  texts: string[] = [],
): Tokenizer {
  const vocab = Object.fromEntries([...byteAlphabet(), ...specials, ...texts].map((token, id) => [token, id]));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return new Tokenizer(
    {
      version: '1.0',
      added_tokens: [...specials, ...texts].map((content, i) => ({
        id: 256 + i,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: i < specials.length,
      })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: '',
        end_of_word_suffix: '',
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab,
        merges: [],
      },
    },
    {
      eos_token: '<|im_end|>',
      pad_token: '<|im_end|>',
      tokenizer_class: 'PreTrainedTokenizerFast',
      chat_template:
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
      ...config,
    },
  );
}

export const chatRow = (question: string, answer: string) => ({
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
});

/** What f prints with console.log. */
export function printed(f: () => void): string {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    f();
    return log.mock.calls.flat().join('\n');
  } finally {
    log.mockRestore();
  }
}
