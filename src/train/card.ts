import { basename } from 'node:path';
import { card, cardName } from '../hub/card';
import { isKaggle } from '../hub/kaggle';
import { PeftModel } from '../peft/model';
import type { TrainingOptions } from './config';
import type { TrainedModel } from './gradients';
import type { Run } from './run';
import type { TrainerState } from './state';

/** The picture beside a card. */
export const PICTURE = 'training.png';

export interface CardParts {
  /** What the model is to be called. */
  name: string;
  /** Where it can be loaded from, where that is known. */
  repo?: string;
  model: TrainedModel;
  args: TrainingOptions;
  state: TrainerState;
  run?: Run;
  /** Whether there is a picture of the run. */
  pictured: boolean;
}

const figure = (value: number): string => (Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(4))));
const table = (head: [string, string], rows: [string, string][]): string =>
  [head, ['---', '---'], ...rows].map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');

/** What the run came to. */
function results({ args, state, run }: CardParts): [string, string][] {
  if (!run?.step) return [];
  const at = ([step, value]: [number, number]) => `${figure(value)} (step ${step})`;
  const rows: [string, string][] = [
    ['steps', `${run.step} of ${run.totalSteps}, ${figure(state.epoch)} ${state.epoch === 1 ? 'epoch' : 'epochs'}`],
    ['tokens', figure(state.num_input_tokens_seen)],
  ];
  const { loss, eval_loss, tokens_per_second: speed } = run.series;
  if (loss.length) rows.push(['training loss', `${at(loss[0])}, ${at(loss[loss.length - 1])}`]);
  if (eval_loss.length) rows.push(['evaluation loss', eval_loss.slice(-8).map(at).join(', ')]);
  const others = Object.entries(run.series).filter(([name, points]) => name.startsWith('eval_') && name !== 'eval_loss' && points.length);
  for (const [name, points] of others.slice(0, 12)) rows.push([name, at(points[points.length - 1])]);
  const { metric_for_best_model: metric } = args;
  if (metric && state.best_metric !== null) rows.push([`best ${metric}`, `${figure(state.best_metric)} (step ${state.best_global_step})`]);
  if (speed.length) rows.push(['speed', `${figure(Math.round(speed.reduce((sum, [, v]) => sum + v, 0) / speed.length))} tokens/s`]);
  if (run.memory.peakBytes) rows.push(['memory', `${figure(Math.round(run.memory.peakBytes / 2 ** 20))} MiB at most`]);
  return rows;
}

/** Settings that decide what is learned. */
const SETTINGS = [
  ...['learning_rate', 'lr_scheduler_type', 'warmup_steps', 'max_steps', 'num_train_epochs', 'per_device_train_batch_size'],
  ...['gradient_accumulation_steps', 'optim', 'weight_decay', 'max_grad_norm', 'max_length', 'packing', 'assistant_only_loss'],
  ...['completion_only_loss', 'seed'],
];

function settings({ args, model }: CardParts): [string, string][] {
  const given = args as unknown as Record<string, unknown>;
  const unused = args.max_steps > 0 ? 'num_train_epochs' : 'max_steps';
  const rows = SETTINGS.filter((name) => name !== unused && given[name] !== undefined && given[name] !== null).map(
    (name) => [`\`${name}\``, String(given[name])] as [string, string],
  );
  return model instanceof PeftModel ? [['adapter', model.active_peft_config.summary], ...rows] : rows;
}

/** How the model is loaded, here and in Python. */
function usage({ repo, model }: CardParts, base: string): string {
  if (!repo) return '';
  const classifies = model instanceof PeftModel ? model.base_model.task_type === 'SEQ_CLS' : model.task_type === 'SEQ_CLS';
  const auto = `AutoModelFor${classifies ? 'SequenceClassification' : 'CausalLM'}`;
  const peft = model instanceof PeftModel;
  const first = JSON.stringify(peft ? base : repo);
  const ts = [
    `import { ${[auto, 'AutoTokenizer', ...(peft ? ['PeftModel'] : [])].join(', ')} } from 'tunebook';`,
    '',
    `const ${peft ? 'base' : 'model'} = await ${auto}.from_pretrained(${first});`,
    ...(peft ? [`const model = await PeftModel.from_pretrained(base, ${JSON.stringify(repo)});`] : []),
    `const tokenizer = await AutoTokenizer.from_pretrained(${JSON.stringify(repo)});`,
  ];
  const python = [
    `from transformers import ${auto}, AutoTokenizer`,
    ...(peft
      ? ['from peft import PeftModel', '', `model = PeftModel.from_pretrained(${auto}.from_pretrained(${first}), ${JSON.stringify(repo)})`]
      : ['', `model = ${auto}.from_pretrained(${first})`]),
    `tokenizer = AutoTokenizer.from_pretrained(${JSON.stringify(repo)})`,
  ];
  return `## Use\n\n\`\`\`ts\n${ts.join('\n')}\n\`\`\`\n\nIn Python:\n\n\`\`\`python\n${python.join('\n')}\n\`\`\`\n`;
}

/** A model's README.md: where it comes from, what its training came to, with which settings, how it is used. */
export function modelCard(parts: CardParts): string {
  const { model, name, run, pictured } = parts;
  const peft = model instanceof PeftModel;
  const base = (peft ? model.base_model : model).config._name_or_path;
  const known = cardName(base);
  const from = known ? `[${known}](https://huggingface.co/${known})` : `\`${isKaggle(base) ? base : basename(base)}\``;
  const classifies = (peft ? model.base_model : model).task_type === 'SEQ_CLS';
  const figures = results(parts);
  const sections = [
    `# ${name}`,
    `${peft ? `${model.active_peft_config.summary} for` : 'Fine-tuned from'} ${from}, trained with tunebook.`,
    ...(pictured ? [`![The loss of the run, step by step](${PICTURE})`] : []),
    ...(figures.length ? [`## Results\n\n${table(['figure', 'value'], figures)}`] : []),
    ...(run ? [`## Settings\n\n${table(['setting', 'value'], settings(parts))}`] : []),
    // Where a folder lies on this machine is nobody's business.
    usage(parts, known ?? (isKaggle(base) ? base : `path/to/${basename(base)}`)),
  ];
  const method = peft ? model.active_peft_config.peft_type.toLowerCase() : undefined;
  return card(
    {
      base_model: known,
      library_name: peft ? 'peft' : 'transformers',
      model_name: name,
      pipeline_tag: classifies ? 'text-classification' : 'text-generation',
      tags: [...(known ? [`base_model:${peft ? 'adapter' : 'finetune'}:${known}`] : []), ...(method ? [method] : []), 'tunebook'],
    },
    sections.filter(Boolean).join('\n\n'),
  );
}
