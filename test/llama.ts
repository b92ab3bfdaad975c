import { join, resolve } from 'node:path';

/** The library of llama.cpp that packs values, out of npm's node-llama-cpp. */
export function libggml(): string {
  const [system, ending] = process.platform === 'darwin' ? ['mac', 'dylib'] : ['linux', 'so'];
  const name = `${system}-${process.arch}`;
  return join(resolve(__dirname, '..'), 'node_modules', '@node-llama-cpp', name, 'bins', name, `libggml-base.${ending}`);
}

/** What llama.cpp makes of a prompt: the ids that it reads, and the text that it answers, the likeliest token each time. */
export interface Answer {
  ids: number[];
  text: string;
  /** The end token that it stopped at. */
  end?: number;
}

/** Loads a GGUF file with llama.cpp, with an adapter where one is given, and has it answer prompts. */
export async function answers(
  path: string,
  prompts: string[],
  { tokens = 24, adapter }: { tokens?: number; adapter?: string } = {},
): Promise<Answer[]> {
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: 1 });
  try {
    const model = await llama.loadModel({ modelPath: path });
    const context = await model.createContext({ contextSize: 256, threads: 1, ...(adapter ? { lora: adapter } : {}) });
    const sequence = context.getSequence();
    const found: Answer[] = [];
    for (const prompt of prompts) {
      const ids = model.tokenize(prompt, true);
      const made: typeof ids = [];
      let end: number | undefined;
      await sequence.clearHistory();
      for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
        if (model.isEogToken(token)) end = token;
        else made.push(token);
        if (end !== undefined || made.length >= tokens) break;
      }
      found.push({ ids: ids.map(Number), text: model.detokenize(made), end });
    }
    return found;
  } finally {
    await llama.dispose();
  }
}
