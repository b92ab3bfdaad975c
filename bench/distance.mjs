// How far decoding's log-probabilities are from fp32's on the same weights, and llama.cpp's: root mean squares over the whole vocabulary,
// behind texts of several lengths. Prints one JSON object on the last line. Arguments: llama-server, the GGUF file.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { freePort } from '../scripts/ports.mjs';

const require = createRequire(import.meta.url);
const tb = require('../lib/index.js');
const tf = require('../lib/engine/tf.js');
const { startDecoding } = require('../lib/generate/decoding.js');

const [program, gguf] = process.argv.slice(2);
const NAME = 'HuggingFaceTB/SmolLM2-135M-Instruct';
const model = await tb.AutoModelForCausalLM.from_pretrained(NAME, { progress: false });
const tokenizer = await tb.AutoTokenizer.from_pretrained(NAME);
const rows = await tb.load_dataset('fine-tuning-qa', { split: 'train' });
const text = [...rows].map((row) => tokenizer.renderChat(row.messages)).join('');
const ids = tokenizer.encode(text).slice(0, 128);
const lengths = Array.from({ length: 16 }, (_, i) => 8 * (i + 1));

function logShares(logits) {
  const top = logits.reduce((most, x) => Math.max(most, x), Number.NEGATIVE_INFINITY);
  const total = top + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
  return Float64Array.from(logits, (x) => x - total);
}

function exact() {
  const all = tf.tidy(() => model.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).dataSync());
  const size = all.length / ids.length;
  return lengths.map((length) => logShares(all.subarray((length - 1) * size, length * size)));
}

async function ours() {
  const decoding = startDecoding(model, 256);
  const made = [];
  for (const length of lengths) {
    const tokens = ids.slice(length - 8, length);
    made.push(logShares((await decoding.step([{ sequence: 0, tokens }]))[0]));
  }
  decoding.dispose();
  return made;
}

async function theirs(size) {
  const port = await freePort();
  const server = spawn(program, ['-m', gguf, '-t', '2', '-c', '512', '--host', '127.0.0.1', '--port', String(port)], { stdio: 'ignore' });
  const at = (path, init) => fetch(`http://127.0.0.1:${port}${path}`, init);
  try {
    for (let tries = 0; !(await at('/health').catch(() => ({}))).ok; tries++) {
      if (tries > 300) throw new Error('llama-server does not answer');
      await setTimeout(200);
    }
    const made = [];
    for (const length of lengths) {
      const body = JSON.stringify({ prompt: ids.slice(0, length), n_predict: 1, n_probs: size, cache_prompt: false });
      const answer = await (await at('/completion', { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json();
      const shares = new Float64Array(size).fill(Number.NaN);
      for (const { id, logprob } of answer.completion_probabilities[0].top_logprobs) shares[id] = logprob;
      made.push(shares);
    }
    return made;
  } finally {
    server.kill();
  }
}

/** The root mean square over all places, and the median of those of each place: a place at which a sum tips over weighs much in the first. */
function distance(made, right) {
  const squares = made.map((row, i) => row.reduce((sum, value, j) => sum + (value - right[i][j]) ** 2, 0) / row.length);
  const sorted = squares.map(Math.sqrt).sort((a, b) => a - b);
  return { rms: Math.sqrt(squares.reduce((a, b) => a + b) / squares.length), median: (sorted[7] + sorted[8]) / 2 };
}

const right = exact();
const [here, there] = [distance(await ours(), right), distance(await theirs(right[0].length), right)];
console.log(JSON.stringify({ ...here, llamaRms: there.rms, llamaMedian: there.median }));
