import { TrainingError } from '../core/errors';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';

type Gradients = ReadonlyMap<string, tf.Tensor>;

/** Names that are said at once. */
const MOST = 4;
const said = (names: string[]): string =>
  `${names.slice(0, MOST).join(', ')}${names.length > MOST ? ` and ${names.length - MOST} more` : ''}`;

/** The names of gradients for which a figure of each ([]) fulfils something. */
async function namesWhere(gradients: Gradients, figure: (g: tf.Tensor) => tf.Tensor, holds: (value: number) => boolean): Promise<string[]> {
  const all = [...gradients];
  // One after another: together they would take what the gradients take.
  const figures = tf.tidy(() => tf.stack(all.map(([, gradient]) => tf.tidy(() => figure(gradient)))));
  const values = await take(figures);
  return all.flatMap(([name], i) => (holds(values[i]) ? [name] : []));
}

/** Where gradients are not numbers, in words to be added to a sentence. */
export async function notNumbers(gradients: Gradients): Promise<string> {
  const sum = (g: tf.Tensor) => tf.sum(tf.mul(g, 0)); // 0, or not a number
  const names = await namesWhere(gradients, sum, (value) => !Number.isFinite(value));
  return names.length ? `: the gradient${names.length > 1 ? 's' : ''} of ${said(names)} ${names.length > 1 ? 'are' : 'is'} not finite` : '';
}

/**
 * Looks whether every trained tensor gets a gradient in the first steps. Of a LoRA pair A gets none before B has moved, which takes a step
 * at a rate above 0: so what has had none by the step after that is told.
 */
export class GradientCheck {
  private silent?: Set<string>;
  private moved = false;
  private isDone = false;

  /** Told the gradients of each step and its rate. Returns what is to be said, where something learns nothing; where nothing learns, that is a TrainingError. */
  async seen(gradients: Gradients, rate: number): Promise<string | undefined> {
    if (this.isDone) return undefined;
    const zero = await namesWhere(
      gradients,
      (g) => tf.max(tf.abs(g)),
      (value) => value === 0,
    );
    this.silent = new Set(this.silent ? zero.filter((name) => this.silent?.has(name)) : zero);
    if (!this.moved) {
      this.moved = rate > 0;
      return undefined;
    }
    this.isDone = true;
    const names = [...this.silent];
    if (!names.length) return undefined;
    const share = `${names.length} of ${gradients.size} trained tensors`;
    if (names.length === gradients.size)
      throw new TrainingError(
        `Nothing is learned: in the first steps the gradient of every trained tensor is zero (${said(names)}). Do the rows have labels that depend on them, and is the adapter on the model that answers?`,
      );
    return `${share} got no gradient in the first steps and learn nothing: ${said(names)}. Freeze them or leave them out, if that is meant.`;
  }
}
