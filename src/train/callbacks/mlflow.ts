import { OptionError } from '../../core/errors';
import { show } from '../../core/options';
import type { TrainingOptions } from '../config';
import { optionsOf, type Run, warn } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** What one request may hold, by MLflow's own limits. */
const MOST = { metrics: 1000, params: 100, value: 6000 };
/** Milliseconds that a request may take. */
const PATIENCE = 10_000;

interface Metric {
  key: string;
  /** What is no finite number stands as the text that MLflow reads: 'NaN', 'Infinity', '-Infinity'. */
  value: number | string;
  timestamp: number;
  step: number;
}

/** Basic or bearer, as MLflow's own client takes them from the environment. */
function authorization(): Record<string, string> {
  const { MLFLOW_TRACKING_TOKEN: token, MLFLOW_TRACKING_USERNAME: user, MLFLOW_TRACKING_PASSWORD: password = '' } = process.env;
  if (token) return { authorization: `Bearer ${token}` };
  return user ? { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` } : {};
}

function serverUri(): string {
  const uri = process.env.MLFLOW_TRACKING_URI;
  if (uri && /^https?:\/\//.test(uri)) return uri.replace(/\/+$/, '');
  throw new OptionError(
    `report_to: 'mlflow' writes to an MLflow server, and MLFLOW_TRACKING_URI is ${show(uri ?? '')}. Start one (mlflow server --port 5000) and set MLFLOW_TRACKING_URI=http://127.0.0.1:5000.`,
  );
}

/** What is read of answers. */
interface Answer {
  experiment: { experiment_id: string };
  experiment_id: string;
  run: { info: { run_id: string } };
}

async function call(method: 'GET' | 'POST', path: string, data: object): Promise<Answer> {
  const query = method === 'GET' ? `?${new URLSearchParams(data as Record<string, string>)}` : '';
  const response = await fetch(`${serverUri()}/api/2.0/mlflow/${path}${query}`, {
    method,
    headers: { 'content-type': 'application/json', ...authorization() },
    ...(method === 'POST' && { body: JSON.stringify(data) }),
    signal: AbortSignal.timeout(PATIENCE),
  });
  const text = await response.text();
  if (!response.ok)
    throw Object.assign(new Error(`HTTP ${response.status}: ${text.slice(0, 300)}`), { said: text, status: response.status });
  return JSON.parse(text || '{}');
}

/** Whether a server will never take this, however often it is sent; what credentials, addresses and haste are to blame for may be mended. */
const isRefused = ({ status = 0 }: { status?: number }) => status >= 400 && status < 500 && ![401, 403, 404, 408, 429].includes(status);

async function experimentId(): Promise<string> {
  const name = process.env.MLFLOW_EXPERIMENT_NAME;
  if (!name) return '0';
  try {
    return (await call('GET', 'experiments/get-by-name', { experiment_name: name })).experiment.experiment_id;
  } catch (error) {
    if (!String((error as { said?: string }).said).includes('RESOURCE_DOES_NOT_EXIST')) throw error;
    return (await call('POST', 'experiments/create', { name })).experiment_id;
  }
}

/**
 * A run on an MLflow server, by its REST interface: settings as parameters, what is logged as metrics under transformers' names. MLFLOW_TRACKING_URI,
 * MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_ID, MLFLOW_TAGS and the credentials are as MLflow's client takes them. Figures are sent while training goes on;
 * those that did not
 * reach the server are sent again with the next.
 */
export class MlflowCallback extends TrainerCallback {
  private id?: string;
  private run?: Run;
  private waiting: Metric[] = [];
  private sending?: Promise<void>;
  private told = false;

  static atHand = (): boolean => /^https?:/.test(process.env.MLFLOW_TRACKING_URI ?? '');

  override async on_train_begin(
    args: TrainingOptions,
    _: TrainerState,
    __: TrainerControl,
    { run, model }: CallbackContext,
  ): Promise<void> {
    Object.assign(this, { run, waiting: [], told: false });
    serverUri();
    const { MLFLOW_RUN_ID: existing, MLFLOW_TAGS: tags } = process.env;
    try {
      const about = { experiment_id: await experimentId(), run_name: args.run_name ?? (run as Run).name, start_time: Date.now() };
      this.id = existing || (await call('POST', 'runs/create', about)).run.info.run_id;
      const params = Object.entries(optionsOf(args, model))
        .map(([key, value]) => ({ key, value: typeof value === 'string' ? value : JSON.stringify(value ?? null) }))
        .filter(({ value }) => value.length <= MOST.value);
      for (let i = 0; i < params.length && !existing; i += MOST.params)
        await call('POST', 'runs/log-batch', { run_id: this.id, params: params.slice(i, i + MOST.params) });
      const named = Object.entries(JSON.parse(tags || '{}')).map(([key, value]) => ({ key, value: String(value) }));
      if (named.length) await call('POST', 'runs/log-batch', { run_id: this.id, tags: named });
    } catch (error) {
      throw new OptionError(
        `report_to: 'mlflow': the server ${serverUri()} did not take the run (${(error as Error).message}). Look whether it runs and whether MLFLOW_TRACKING_URI is its address, or leave 'mlflow' out.`,
      );
    }
  }

  override on_log(_: TrainingOptions, { global_step: step }: TrainerState, __: TrainerControl, { logs }: CallbackContext): void {
    if (!this.id) return;
    for (const [name, value] of Object.entries(logs))
      if (name !== 'step')
        this.waiting.push({
          key: name.replaceAll(/[^0-9A-Za-z_\-. :/]/g, '_'),
          value: Number.isFinite(value) ? value : String(value),
          timestamp: Date.now(),
          step,
        });
    this.sending ??= this.send().finally(() => {
      this.sending = undefined;
    });
  }

  override async run_over(run: Run): Promise<void> {
    if (!this.id) return;
    await this.sending;
    await this.send();
    const status = { finished: 'FINISHED', stopped: 'KILLED' }[run.status as string] ?? 'FAILED';
    await call('POST', 'runs/update', { run_id: this.id, status, end_time: Date.now() }).catch((error: Error) => this.say(error));
    this.id = undefined;
  }

  private async send(): Promise<void> {
    while (this.waiting.length) {
      const metrics = this.waiting.slice(0, MOST.metrics);
      try {
        await this.put(metrics);
      } catch (error) {
        this.say(error as Error);
        return;
      }
      this.waiting.splice(0, metrics.length);
    }
  }

  /** Sends figures. Of those that the server refuses it takes what it can: in halves, down to the one that is dropped. */
  private async put(metrics: Metric[]): Promise<void> {
    try {
      await call('POST', 'runs/log-batch', { run_id: this.id, metrics });
    } catch (error) {
      if (!isRefused(error as { status?: number })) throw error;
      this.say(error as Error);
      const half = Math.ceil(metrics.length / 2);
      if (metrics.length > 1) for (const part of [metrics.slice(0, half), metrics.slice(half)]) await this.put(part);
    }
  }

  private say(error: Error): void {
    if (this.told || !this.run) return;
    this.told = true;
    warn(this.run, `MLflow's server did not take figures: ${error.message}. They are in log.jsonl too; training goes on.`);
  }
}
