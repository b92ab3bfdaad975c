// Real tasks before and after a LoRA run: prompts tried by hand, few-shot, fine-tuned; on held-out rows, with intervals. Prints its figures
// as one JSON object on its last line. See run.mjs.
import { mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const tb = createRequire(import.meta.url)('../lib/index.js');
const { task, rows, rank, epochs, batch, rate } = JSON.parse(process.argv[2]);

/** What is asked, in several wordings: the first is what the model is trained on. */
const TASKS = {
  'film-sentiment': {
    choices: { 0: 'negative', 1: 'positive' },
    most: 120,
    prompts: [
      (text) => `Review: ${text}\nSentiment:`,
      (text) => `Decide whether this sentence of a film review is positive or negative.\nSentence: ${text}\nAnswer:`,
      (text) => `${text}\nDid the critic like the film? The critic's opinion is`,
    ],
  },
  'spam-assassin': {
    choices: { 0: 'ham', 1: 'spam' },
    most: 192,
    prompts: [
      (text) => `E-mail: ${text}\nThis e-mail is spam or ham:`,
      (text) => `Decide whether an e-mail is spam (unwanted advertising) or ham (wanted mail).\n${text}\nAnswer:`,
    ],
  },
};

const { choices, prompts, most } = TASKS[task];
const model = await tb.AutoModelForCausalLM.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
const tokenizer = await tb.AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
const { train, validation, test } = await tb.load_dataset(task);
/** The first tokens of a text: what stands in a mail's beginning tells enough. */
const cut = ({ text, label }) => ({ text: tokenizer.decode(tokenizer.encode(text).slice(0, most)), label });
const held = [...test].map(cut);
const shown = [...train].slice(0, rows).map(cut);
const chosen = [...validation].slice(0, 250).map(cut);
const ask = (wording) => (row) => wording(row.text);
const shots = (k) =>
  tb.fewShot(
    shown.slice(0, 1000),
    { question: ask(prompts[0]), answer: (row) => ` ${choices[row.label]}` },
    { k, max_length: 1024, tokenizer },
  );
const wordings = { ...Object.fromEntries(prompts.map((wording, i) => [`prompt ${i + 1}`, ask(wording)])), 'few-shot, 4': shots(4) };

// The wording that does best on the validation rows is the one to beat.
const scores = {};
for (const [name, prompt] of Object.entries(wordings)) {
  const { predictions } = await tb.classify(model, chosen, { tokenizer, prompt, choices });
  scores[name] = predictions.filter((its, i) => its === chosen[i].label).length / chosen.length;
  console.log(name, scores[name]);
}
const best = Object.keys(scores).sort((a, b) => scores[b] - scores[a])[0];
const start = performance.now();
const trainer = new tb.SFTTrainer({
  model,
  processing_class: tokenizer,
  train_dataset: tb.Dataset.from_list(shown.map(({ text, label }) => ({ prompt: prompts[0](text), completion: ` ${choices[label]}` }))),
  peft_config: new tb.LoraConfig({ r: rank, lora_alpha: 2 * rank, target_modules: 'all-linear' }),
  args: new tb.SFTConfig({
    output_dir: mkdtempSync(join(tmpdir(), 'bench-')),
    num_train_epochs: epochs,
    per_device_train_batch_size: batch,
    learning_rate: rate,
    lr_scheduler_type: 'cosine',
    warmup_steps: 20,
    save_strategy: 'no',
    logging_steps: 20,
  }),
});
await trainer.train();
const seconds = (performance.now() - start) / 1000;
const result = await tb.compare({
  before: { model: trainer.model.base_model, prompt: wordings[best] },
  after: trainer.model,
  dataset: held,
  metrics: ['accuracy', 'precision', 'recall'],
  tokenizer,
  prompt: ask(prompts[0]),
  choices,
});
console.log(result);
const { before, after } = Object.fromEntries(result.results.map(({ name, metrics }) => [name, metrics.accuracy]));
console.log(JSON.stringify({ scores, best, before, after, trained: shown.length, seconds, peakMiB: tb.memoryUsage().peak / 2 ** 20 }));
