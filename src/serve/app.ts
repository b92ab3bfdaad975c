import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';
import { Refusal, refusalOf } from './refusal';
import { chat } from './routes/chat';
import { completions } from './routes/completions';
import { embeddings } from './routes/embeddings';
import { models } from './routes/models';
import { REPLIES, replies } from './schemas';
import type { Service } from './service';
import { isLoopback, type ServeOptions } from './settings';

const digest = (key: string) => createHash('sha256').update(key).digest();

/** What is told without a key. */
const OPEN = ['/health', '/metrics', '/openapi.json'];

/** Refuses requests without one of the keys. The route tells what is meant: a path can be written in many ways. */
function guard(app: FastifyInstance, keys: string[]): void {
  const known = keys.map(digest);
  app.addHook('onRequest', async ({ routeOptions: { url }, headers }) => {
    if (url !== undefined && OPEN.includes(url)) return;
    const given = digest(/^Bearer\s+(.+)$/i.exec(headers.authorization ?? '')?.[1] ?? '');
    // All are compared, so that time tells nothing.
    if (known.filter((key) => timingSafeEqual(key, given)).length) return;
    throw new Refusal(401, 'The API key is missing or wrong: send it as Authorization: Bearer.', 'authentication_error', 'invalid_api_key');
  });
}

/** Refuses requests by other names than this machine's: a web page can make a name of its own mean this machine (DNS rebinding). */
function ownNames(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ headers: { host } }) => {
    const name = host?.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
    if (name === undefined || isLoopback(name.toLowerCase())) return;
    throw new Refusal(
      403,
      `This server is asked as '${name}', but answers without a key by this machine's own names alone: localhost, 127.0.0.1. To reach it by others start it with api_key.`,
      'permission_error',
    );
  });
}

/** Fastify's own errors as refusals: of what was sent, not of what was meant. */
function refusal(error: FastifyError | Error): Refusal {
  const { code, validation, statusCode } = error as FastifyError;
  if (validation) {
    const last = validation.at(-1) as (typeof validation)[number];
    // Of forms that a value may have, each says why it is not that one.
    const { instancePath, params } = last.keyword === 'anyOf' ? last : validation[0];
    const messages = [
      ...new Set(validation.filter((one) => one.instancePath === instancePath && one !== last).map(({ message }) => message)),
    ];
    const param =
      instancePath.slice(1).replaceAll('/', '.') || ((params.missingProperty ?? params.additionalProperty) as string | undefined);
    const unknown = last.keyword === 'additionalProperties' ? params.additionalProperty : undefined;
    const wrong = last.keyword === 'anyOf' && messages.length ? messages.join(', or ') : last.message;
    const what = unknown ? `Unknown field: '${unknown}'.` : `${param ?? 'The request'}: ${wrong}.`;
    return new Refusal(400, what, 'invalid_request_error', null, param ?? null);
  }
  if (code?.startsWith('FST_') && statusCode && statusCode < 500) return new Refusal(statusCode, error.message);
  // What is no JSON, or breaks off.
  if (error instanceof SyntaxError || (statusCode && statusCode >= 400 && statusCode < 500))
    return new Refusal(statusCode ?? 400, error.message);
  return refusalOf(error);
}

/** Paths and their methods, so that a wrong method is told from a wrong path. */
function methodsOf(app: FastifyInstance): Map<string, Set<string>> {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    for (const one of [method].flat()) methods.set(url, (methods.get(url) ?? new Set()).add(one));
  });
  return methods;
}

async function document(app: FastifyInstance, { api_key }: ServeOptions): Promise<void> {
  const { default: swagger } = await import('@fastify/swagger');
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'tunebook', version: '1', description: "A model and its adapters, by OpenAI's interface." },
      ...(api_key ? { components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } }, security: [{ key: [] }] } : {}),
    },
  });
}

function watched(app: FastifyInstance, service: Service): void {
  const { stats } = service;
  const health = { summary: 'Whether it runs.', operationId: 'health', security: [], response: replies(REPLIES.health, []) };
  app.get('/health', { schema: health }, async () => ({ status: 'ok' }));
  const metrics = { summary: 'Figures for Prometheus.', operationId: 'metrics', security: [], response: replies('text', []) };
  app.get('/metrics', { schema: metrics }, async (_, reply) => reply.type(stats.contentType).send(await stats.text()));
  app.get('/openapi.json', { schema: { hide: true } }, async () => (app as unknown as { swagger(): object }).swagger());
  const pathOf = ({ routeOptions }: FastifyRequest) => routeOptions.url ?? 'none';
  app.addHook('onResponse', async (request, reply) => {
    // Streams have sent their own status.
    stats.answered(pathOf(request), reply.raw.statusCode, reply.elapsedTime / 1000);
  });
}

/** The paths of a server. */
export async function appOf(service: Service): Promise<FastifyInstance> {
  const { fastify } = await import('fastify');
  const { options } = service;
  const app = fastify({
    bodyLimit: options.body_limit,
    requestTimeout: 1000 * options.io_timeout,
    connectionTimeout: 0,
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    exposeHeadRoutes: false,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: false, strict: false } },
    routerOptions: { maxParamLength: 1024 },
  });
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  const methods = methodsOf(app);
  await document(app, options);
  app.setErrorHandler((error: Error, _, reply) => {
    const { status, body } = refusal(error);
    if (status === 503) reply.header('retry-after', '1');
    if (status === 401) reply.header('www-authenticate', 'Bearer');
    return reply.code(status).send(body);
  });
  const keys = [options.api_key ?? []].flat();
  if (keys.length) guard(app, keys);
  else if (isLoopback(options.host)) ownNames(app);
  // Said before a body is read.
  app.addHook('onRequest', async ({ is404, url, method }, reply) => {
    if (!is404) return;
    const path = url.split('?')[0];
    const known = methods.get(path.startsWith('/v1/models/') ? '/v1/models/:model' : path);
    if (!known) throw new Refusal(404, `There is no ${path} here. /openapi.json has what there is.`);
    const all = [...known].join(', ');
    reply.header('allow', all);
    throw new Refusal(405, `${path} has ${all}, not ${method}.`);
  });
  for (const add of [watched, models, chat, completions, embeddings]) add(app, service);
  await app.ready();
  return app;
}
