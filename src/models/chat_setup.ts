import { OptionError } from '../core/errors';
import { checkNumber, readOptions, show } from '../core/options';
import { Tokenizer } from '../tokenizers/tokenizer';
import { AutoTokenizer } from './auto';
import type { PretrainedModel } from './pretrained';

/**
 * Makes a base model one for conversations, as TRL's function of this name: gives its tokenizer another one's chat template, the tokens that this needs and
 * its end of text, and the model a row of embeddings for each new token (the mean of the others), rounded up to a multiple of
 * `resize_to_multiple_of` (64; null: as many as there are tokens). `source_tokenizer_path`: a name of the Hub, a folder, or a tokenizer. Returns model,
 * tokenizer and the ids of new tokens; with an adapter, train their rows: `modules_to_save: ['embed_tokens', 'lm_head']`.
 */
export async function clone_chat_template<M extends PretrainedModel>(
  model: M,
  tokenizer: Tokenizer,
  source_tokenizer_path: string | Tokenizer,
  options: { resize_to_multiple_of?: number | null } = {},
): Promise<[model: M, tokenizer: Tokenizer, added: number[]]> {
  const owner = 'clone_chat_template';
  const { resize_to_multiple_of: by } = readOptions(owner, options, { resize_to_multiple_of: 64 as number | null });
  if (by !== null) checkNumber(owner, 'resize_to_multiple_of', by, { integer: true, min: 1 }, 'null: as many rows as there are tokens.');
  const source =
    source_tokenizer_path instanceof Tokenizer ? source_tokenizer_path : await AutoTokenizer.from_pretrained(source_tokenizer_path);
  const where = typeof source_tokenizer_path === 'string' ? show(source_tokenizer_path) : 'the tokenizer';
  if (source.chat_template === undefined)
    throw new OptionError(
      `${owner}: ${where} has no chat template itself. Name a model that was trained on conversations (one that ends in -Instruct, say).`,
    );
  const fresh = source.added_tokens.filter(({ content }) => !tokenizer.has(content));
  tokenizer.chat_template = source.chat_template;
  for (const { id: _, ...token } of fresh) tokenizer.add_tokens(token, { special_tokens: token.special });
  tokenizer.eos_token = source.eos_token;
  model.config.eos_token_id = tokenizer.eos_token_id;
  model.generation_config.eos_token_id = tokenizer.eos_token_id ?? null;
  await model.resize_token_embeddings(tokenizer.length, { pad_to_multiple_of: by });
  const added = fresh.map(({ content }) => content);
  // The tokenizer names every row, also those that fill up the last multiple.
  for (let i = 0; tokenizer.length < model.config.vocab_size; i++) {
    const filler = `<extra_id_${i}>`;
    if (tokenizer.add_tokens(filler)) added.push(filler);
  }
  return [model, tokenizer, tokenizer.convert_tokens_to_ids(added) as number[]];
}
