import type { FastifyInstance } from 'fastify';
import { FileError, HubError, OptionError } from '../../core/errors';
import { Refusal, refuse } from '../refusal';
import { LOAD_REQUEST, REPLIES, replies, UNLOAD_REQUEST } from '../schemas';
import type { Service } from '../service';
import { mayUpdate } from '../settings';

/** The model and its adapters, which name it as their parent. */
function listed({ adapters, model, name, created, length }: Service) {
  const [kind, root] = ['model', model.config._name_or_path];
  const own = { id: name, object: kind, created, owned_by: 'tunebook', root, parent: null, max_model_len: length };
  const others = adapters.list.map((one) => ({
    ...{ id: one.name, object: kind, created: one.created, owned_by: 'tunebook' },
    ...{ root: one.path ?? one.name, parent: name, max_model_len: length },
  }));
  return [own, ...others];
}

export function models(app: FastifyInstance, service: Service): void {
  const list = { summary: 'The model and its adapters.', operationId: 'listModels', response: replies(REPLIES.models, [401]) };
  app.get('/v1/models', { schema: list }, async () => ({ object: 'list', data: listed(service) }));
  const params = { type: 'object', properties: { model: { type: 'string', minLength: 1 } }, required: ['model'] };
  const one = { summary: 'One of them.', operationId: 'retrieveModel', params, response: replies(REPLIES.model, [400, 401, 404]) };
  app.get<{ Params: { '*': string } }>('/v1/models/*', { schema: { hide: true } }, async ({ params: { '*': id } }) => modelOf(id));
  app.get<{ Params: { model: string } }>('/v1/models/:model', { schema: one }, async ({ params: { model } }) => modelOf(model));
  const modelOf = (id: string) => {
    const found = listed(service).find((entry) => entry.id === id);
    if (!found) throw new Refusal(404, `The model '${id}' does not exist.`, 'invalid_request_error', 'model_not_found', 'model');
    return found;
  };
  loras(app, service);
}

/** Loading and unloading of adapters, as vLLM has it. */
function loras(app: FastifyInstance, { adapters, name, options }: Service): void {
  const wrong = [400, 401, 403, 404, 408, 413, 415, 500, 503];
  const allow = () => {
    if (!mayUpdate(options))
      throw new Refusal(
        403,
        'Clients may not change adapters here: the server was started without allow_runtime_lora_updating.',
        'permission_error',
      );
  };
  const load = { summary: 'Loads an adapter.', operationId: 'loadLoraAdapter', body: LOAD_REQUEST, response: replies('text', wrong) };
  app.post<{ Body: { lora_name: string; lora_path: string; load_inplace?: boolean } }>(
    '/v1/load_lora_adapter',
    { schema: load },
    async ({ body: { lora_name, lora_path, load_inplace } }, reply) => {
      allow();
      if (lora_name === name) throw refuse(`The model itself is called '${name}'. Choose another name.`, 'lora_name');
      await adapters.load(lora_name, lora_path, load_inplace).catch((error) => {
        const isTheirs = [OptionError, FileError, HubError].some((kind) => error instanceof kind);
        throw isTheirs ? refuse(error.message, 'lora_path', 'adapter') : error;
      });
      return reply.type('text/plain').send(`Success: LoRA adapter '${lora_name}' added successfully.`);
    },
  );
  const unload = {
    summary: 'Unloads an adapter.',
    operationId: 'unloadLoraAdapter',
    body: UNLOAD_REQUEST,
    response: replies('text', wrong),
  };
  app.post<{ Body: { lora_name: string } }>('/v1/unload_lora_adapter', { schema: unload }, async ({ body: { lora_name } }, reply) => {
    allow();
    if (!adapters.has(lora_name))
      throw new Refusal(404, `There is no adapter '${lora_name}'.`, 'NotFoundError', 'adapter_not_found', 'lora_name');
    adapters.unload(lora_name);
    return reply.type('text/plain').send(`Success: LoRA adapter '${lora_name}' removed successfully.`);
  });
}
