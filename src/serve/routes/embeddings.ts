import type { FastifyInstance } from 'fastify';
import { embed } from '../pooling';
import { refuse } from '../refusal';
import { EMBEDDING_REQUEST, REPLIES, replies } from '../schemas';
import type { Service } from '../service';

interface Body {
  input: string | string[] | number[] | number[][];
  model: string;
  encoding_format?: 'float' | 'base64';
  dimensions?: number | null;
}

export function embeddings(app: FastifyInstance, service: Service): void {
  const schema = {
    summary: 'Vectors of texts.',
    operationId: 'createEmbedding',
    body: EMBEDDING_REQUEST,
    response: replies(REPLIES.embeddings, [400, 401, 404, 408, 413, 415, 500, 503]),
  };
  app.post<{ Body: Body }>('/v1/embeddings', { schema }, async ({ body }, reply) => {
    const { model, tokenizer, length } = service;
    await service.adapters.ready();
    const name = service.adapterOf(body.model);
    if (!service.embeds)
      throw refuse(
        'This model has no embeddings: beside its files there are none of sentence-transformers. Start the server with pooling.',
        'model',
      );
    if (body.dimensions && body.dimensions > model.config.hidden_size)
      throw refuse(`dimensions is ${body.dimensions}, but there are ${model.config.hidden_size}.`, 'dimensions');
    const all = (Array.isArray(body.input) && typeof body.input[0] !== 'number' ? body.input : [body.input]) as (string | number[])[];
    const rows = all.map((one) => (typeof one === 'string' ? tokenizer.encode(one) : one));
    for (const [i, row] of rows.entries()) {
      if (!row.length) throw refuse(`Text ${i} has no tokens.`, 'input');
      if (row.length > length) throw refuse(`Text ${i} has ${row.length} tokens; there may be ${length}.`, 'input');
      if (row.some((id) => id >= model.config.vocab_size)) throw refuse(`Text ${i} has a token that there is not.`, 'input');
    }
    const data: object[] = [];
    const { adapter, release } = service.adapters.use(name);
    try {
      for (const [index, row] of rows.entries()) {
        if (reply.raw.destroyed) break;
        const vector = await embed(model, row, service.embeds, (f) => service.adapters.wearing(adapter, f), body.dimensions ?? undefined);
        const embedding =
          body.encoding_format === 'base64'
            ? Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')
            : [...vector];
        data.push({ object: 'embedding', index, embedding });
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      release();
    }
    const prompt_tokens = rows.reduce((n, row) => n + row.length, 0);
    service.stats.read(prompt_tokens);
    return { object: 'list', data, model: body.model, usage: { prompt_tokens, total_tokens: prompt_tokens } };
  });
}
