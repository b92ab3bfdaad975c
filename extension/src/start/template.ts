import type { TranslationBundle } from '@jupyterlab/translation';

const LOAD = `import {
  AutoModelForCausalLM, AutoTokenizer, inspect, load_dataset, LoraConfig, pipeline, SFTConfig, SFTTrainer,
} from 'tunebook';

const base = 'HuggingFaceTB/SmolLM2-135M-Instruct';
const model = await AutoModelForCausalLM.from_pretrained(base);
const tokenizer = await AutoTokenizer.from_pretrained(base);`;

const DATA = `const { train, test } = await load_dataset('fine-tuning-qa');
train`;

const TRAINER = `const trainer = new SFTTrainer({
  model,
  processing_class: tokenizer,
  train_dataset: train,
  eval_dataset: test,
  peft_config: new LoraConfig({ r: 16, lora_alpha: 32, target_modules: 'all-linear' }),
  args: new SFTConfig({
    output_dir: 'out/my-adapter',
    max_steps: 40,
    per_device_train_batch_size: 4,
    learning_rate: 5e-4,
    assistant_only_loss: true,
    eval_strategy: 'steps',
    eval_steps: 20,
  }),
});
trainer.model.print_trainable_parameters();`;

const TRAIN = `const run = await trainer.train();
run`;

const ASK = `const ask = await pipeline('text-generation', trainer.model, { tokenizer });
await ask([{ role: 'user', content: 'What does rank mean in LoRA?' }], { max_new_tokens: 60 })`;

const SAVE = `await trainer.save_model();
await inspect(trainer.model)`;

/** A notebook that fine-tunes from its first cell to a saved adapter: what is changed first is the data. */
export function template(trans: TranslationBundle): object {
  const text = (...lines: string[]) => ({ cell_type: 'markdown', metadata: {}, source: lines.join('\n\n') });
  const code = (source: string) => ({ cell_type: 'code', metadata: {}, execution_count: null, outputs: [], source });
  const cells = [
    text(
      `# ${trans.__('A fine-tune')}`,
      trans.__('Run the cells from top to bottom (Shift+Enter). Shift+Tab on a name says what it is and what its options are.'),
    ),
    text(`## ${trans.__('Model')}`, trans.__('A name on the Hugging Face Hub, a folder with safetensors, or a GGUF file.')),
    code(LOAD),
    text(
      `## ${trans.__('Data')}`,
      trans.__(
        'Your own: `await load_dataset(\'rows.jsonl\')`, a row a line, such as `{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}`.',
      ),
    ),
    code(DATA),
    text(`## ${trans.__('Training')}`),
    code(TRAINER),
    code(TRAIN),
    text(`## ${trans.__('Try, look into, save')}`),
    code(ASK),
    code(SAVE),
  ];
  return {
    cells: cells.map((cell, i) => ({ id: `tunebook-${i}`, ...cell })),
    metadata: { kernelspec: { name: 'tunebook', display_name: 'TypeScript (tunebook)', language: 'typescript' } },
    nbformat: 4,
    nbformat_minor: 5,
  };
}
