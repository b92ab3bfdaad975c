import type { Part } from './engine';
import { split } from './engine_mends';

/**
 * How the byte-level tokenizers of GGUF files split a text before they merge, by `tokenizer.ggml.pre`: the names are llama.cpp's
 * (src/llama-vocab.cpp), the splits those of the families' own tokenizer.json. llama.cpp's are the same, or nearly, in a dialect of
 * its own.
 */
interface PreTokenizer {
  names: string[];
  splits: string[];
  /** Tokens that are whole words are taken without merging. */
  ignore_merges?: boolean;
  /** Whether a file that does not say so gets a BOS token. */
  add_bos?: boolean;
  normalizer?: 'NFC';
}

const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LINES_AND_SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
/** tiktoken's cl100k_base with so many digits to a token. */
const cl100k = (digits: string) =>
  `${CONTRACTIONS}${String.raw`|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|`}${LINES_AND_SPACES}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
/** tiktoken's o200k_base: words begin anew where a capital follows a small letter. */
const o200k = (contractions: string, digits: string) =>
  String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${contractions}|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${contractions}|${digits}` +
  String.raw`| ?[^\s\p{L}\p{N}]+[\r\n/]*|${LINES_AND_SPACES}`;
const QWEN35 = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${LINES_AND_SPACES}`;
const DEEPSEEK3 =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+' +
  String.raw`|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${LINES_AND_SPACES}`;
const BLOOM = String.raw` ?[^(\s|[.,!?…。，、।۔،])]+`;

export const PRE_TOKENIZERS: PreTokenizer[] = [
  {
    names: ['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'trillion', 'granite-docling', 'gigachat', 'mellum', 'a.x-4.0', 'exaone4'],
    splits: [GPT2],
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    splits: [String.raw`\p{N}`, GPT2],
  },
  { names: ['command-r'], splits: [String.raw`\p{N}`, GPT2], normalizer: 'NFC' },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2', 'jina-v5-nano'],
    splits: [cl100k(String.raw`\p{N}{1,3}`)],
    ignore_merges: true,
    add_bos: true,
  },
  { names: ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], splits: [cl100k(String.raw`\p{N}{1,3}`)] },
  { names: ['qwen2', 'megrez'], splits: [cl100k(String.raw`\p{N}`)], normalizer: 'NFC' },
  {
    names: ['deepseek-r1-qwen', 'kormo', 'f2llmv2', 'stablelm2', 'hunyuan', 'solar-open', 'grok-2'],
    splits: [cl100k(String.raw`\p{N}`)],
  },
  { names: ['qwen35'], splits: [QWEN35], normalizer: 'NFC' },
  { names: ['tekken'], splits: [o200k('', String.raw`\p{N}`)], ignore_merges: true, add_bos: true },
  {
    names: ['gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2'],
    splits: [o200k(`${CONTRACTIONS}?`, String.raw`\p{N}{1,3}`)],
    ignore_merges: true,
  },
  {
    names: ['deepseek-v3', 'hunyuan-dense', 'joyai-llm'],
    splits: [String.raw`\p{N}{1,3}`, '[一-龥\u3040-ゟ゠-ヿ]+', DEEPSEEK3],
  },
  {
    names: ['deepseek-coder'],
    splits: [String.raw`[\r\n]`, String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, '[一-龥ࠀ-一가-퟿]+', String.raw`\p{N}`],
  },
  { names: ['bloom', 'poro-chat', 'gpt3-finnish'], splits: [BLOOM] },
  { names: ['viking'], splits: [BLOOM, String.raw`\p{N}`] },
];

/** The pre-tokenizer of that name; undefined for one that is not known here. */
export function findPreTokenizer(name: string): PreTokenizer | undefined {
  return PRE_TOKENIZERS.find(({ names }) => names.includes(name));
}

export const preTokenizerNames = (): string[] => PRE_TOKENIZERS.flatMap(({ names }) => names);

/** As tokenizer.json writes it: the splits, then bytes as visible characters. */
export const preTokenizerJson = ({ splits }: PreTokenizer): Part => ({
  type: 'Sequence',
  pretokenizers: [...splits.map(split), { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }],
});
