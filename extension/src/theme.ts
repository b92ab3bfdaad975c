import type { TranslationBundle } from '@jupyterlab/translation';
import type { Theme, Words } from './run/figure';

const variable = (name: string, fallback: string) => getComputedStyle(document.body).getPropertyValue(name).trim() || fallback;

/** The colours of JupyterLab's theme as it is now. */
export const themeNow = (): Theme => ({
  text: variable('--jp-ui-font-color1', '#222'),
  grid: variable('--jp-border-color2', '#ddd'),
  font: variable('--jp-ui-font-family', 'sans-serif'),
  dark: document.body.dataset.jpThemeLight === 'false',
});

export const background = (): string => variable('--jp-layout-color0', '#fff');

export const words = (trans: TranslationBundle): Words => ({
  loss: trans.__('training loss'),
  mean: trans.__('moving average'),
  eval_loss: trans.__('evaluation loss'),
  learning_rate: trans.__('learning rate'),
  grad_norm: trans.__('gradient norm'),
  tokens_per_second: trans.__('tokens/s'),
  resident_bytes: trans.__('memory, GiB'),
  evaluated: trans.__('evaluated'),
  step: trans.__('step'),
  // memory, GiB of 16
  machine: trans.__('of'),
  events: trans.__('events'),
  before: trans.__('run before'),
  kinds: {
    epoch: trans.__('epoch'),
    checkpoint: trans.__('checkpoint'),
    learning_rate: trans.__('rate set'),
    paused: trans.__('paused'),
    resumed: trans.__('resumed'),
    overfitting: trans.__('overfitting'),
    warning: trans.__('warning'),
    nan: trans.__('not a number'),
    stopped: trans.__('stopped'),
    failed: trans.__('failed'),
  },
});
