/**
 * Set-up's last stage: something small through every part, so that a broken machine is found there and not in a notebook's second
 * cell. Run as `node lib/selftest.js`; scripts/selftest.cjs reads what it prints: a line for each part before it begins, and
 * what was wrong behind the last one.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from './core/random';
import * as tf from './engine/tf';
import { writeSafetensors } from './formats/safetensors';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  BitsAndBytesConfig,
  Dataset,
  evaluate,
  generate,
  LoraConfig,
  PeftModel,
  SFTConfig,
  SFTTrainer,
  startBackend,
} from './index';
import { picture } from './notebook/picture';

const CONFIG = {
  ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], vocab_size: 259, hidden_size: 64, intermediate_size: 128 },
  ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true, eos_token_id: 258 },
};
const TEXT = 'To be, or not to be';
/** The model's loss on the text and its end token, by transformers. */
const LOSS = 6.75616;

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

/** A random Llama of 80,000 parameters and a tokenizer of bytes, in Hugging Face's files. */
async function writeModel(folder: string): Promise<void> {
  const { vocab_size: V, hidden_size: H, intermediate_size: I } = CONFIG;
  const random = Random.seeded(1);
  const matrix = (name: string, shape: number[]) => ({
    ...{ name: `model.${name}.weight`, shape },
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => (shape.length > 1 ? random.normal() / 8 : 1)),
  });
  const layers = [0, 1].flatMap((i) =>
    Object.entries({
      ...{ 'self_attn.q_proj': [H, H], 'self_attn.k_proj': [H / 2, H], 'self_attn.v_proj': [H / 2, H], 'self_attn.o_proj': [H, H] },
      ...{ 'mlp.gate_proj': [I, H], 'mlp.up_proj': [I, H], 'mlp.down_proj': [H, I], input_layernorm: [H], post_attention_layernorm: [H] },
    }).map(([name, shape]) => matrix(`layers.${i}.${name}`, shape)),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), [matrix('embed_tokens', [V, H]), ...layers, matrix('norm', [H])]);
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
  const visible = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let more = 256;
  const bytes = Array.from({ length: 256 }, (_, b) => String.fromCodePoint(visible(b) ? b : more++));
  const specials = ['<s>', '<pad>', '</s>'];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const added_tokens = specials.map((content, i) => ({ id: 256 + i, content, ...flags }));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    ...{ version: '1.0', added_tokens, normalizer: null, pre_tokenizer: byteLevel, post_processor: null, decoder: byteLevel },
    model: { type: 'BPE', vocab: Object.fromEntries([...bytes, ...specials].map((token, id) => [token, id])), merges: [] },
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: '</s>', pad_token: '<pad>' }));
}

const load = (folder: string, options: object = {}) => AutoModelForCausalLM.from_pretrained(folder, { progress: false, ...options });

/** A few steps of LoRA, the adapter saved and loaded again. */
async function train(folder: string): Promise<void> {
  const processing_class = await AutoTokenizer.from_pretrained(folder);
  const output_dir = join(folder, 'adapter');
  const trainer = new SFTTrainer({
    ...{ model: await load(folder), processing_class, train_dataset: Dataset.from_list([{ text: TEXT }]) },
    peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear' }),
    args: new SFTConfig({ output_dir, max_steps: 3, learning_rate: 0.02, logging_steps: 1, save_strategy: 'no', disable_tqdm: true }),
  });
  await trainer.train();
  const losses = trainer.run?.series.loss.map(([, loss]) => loss) ?? [];
  expect(losses.length === 3 && losses[2] < losses[0] - 0.1, `three steps of training gave the losses ${losses.join(', ')}`);
  await trainer.save_model();
  const prompt = processing_class.encode('To be');
  const options = { max_new_tokens: 5, eos_token_id: [] };
  const again = await PeftModel.from_pretrained(await load(folder), output_dir);
  const answers = await Promise.all([trainer.model, again].map((model) => generate(model.base_model, prompt, options)));
  expect(`${answers[0]}` === `${answers[1]}`, `the saved adapter answers ${answers[1]} and not ${answers[0]}`);
}

const parts: Record<string, (folder: string) => unknown> = {
  engine: startBackend,
  async TensorFlow() {
    const product = tf.matMul([[1, 2]], [[3], [4]]).dataSync()[0];
    const largest = tf.topk([1, 3, 2], 2).values.dataSync();
    expect(product === 11 && `${largest}` === '3,2', `1 * 3 + 2 * 4 gave ${product}, and the largest two of 1, 3, 2 are ${largest}`);
  },
  async model(folder) {
    await writeModel(folder);
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    expect(tokenizer.decode(tokenizer.encode(TEXT)) === TEXT, `the tokenizer made ${tokenizer.decode(tokenizer.encode(TEXT))} of ${TEXT}`);
    const packed = new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' });
    for (const [kind, options, tolerance] of [
      ['plain', {}, 0.001],
      ['4-bit', { quantization_config: packed }, 0.2],
    ] as const) {
      const { eval_loss: loss } = await evaluate(await load(folder, options), Dataset.from_list([{ text: TEXT }]), { tokenizer });
      expect(Math.abs(loss - LOSS) < tolerance, `the loss of the ${kind} model is ${loss} and not ${LOSS}`);
    }
  },
  training: train,
  pictures() {
    const png = picture('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><text y="8">a</text></svg>');
    expect(png.length > 60, `a picture has ${png.length} bytes`);
  },
};

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tunebook-selftest-'));
  try {
    for (const [name, run] of Object.entries(parts)) {
      console.log(`part: ${name}`);
      await run(folder);
    }
    console.log('part: none');
  } catch (error) {
    console.log(`failed: ${JSON.stringify((error as Error).stack ?? String(error))}`);
    process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (require.main === module) void main();
