import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';
import type { RunData } from '@tunebook/views';

/** What a user sets in JupyterLab's settings editor. */
export interface ViewSettings {
  /** Weight of the moving average: 0 none, below 1. */
  smoothing: number;
  logScale: boolean;
  /** Draw the run before faintly behind each. */
  ghost: boolean;
}

export const DEFAULT_SETTINGS: ViewSettings = { smoothing: 0.9, logScale: false, ghost: true };

/** What views need of the application around them. */
export interface Context {
  readonly trans: TranslationBundle;
  readonly settings: ViewSettings;
  /** Settings or theme have changed. */
  readonly restyled: ISignal<unknown, void>;
  /** The run that was saved in a folder of the server; or a sentence that says why there is none. */
  savedRun(path: string): Promise<RunData | string>;
  /** Runs that are saved beside a run's folder, as it is named in the notebook `from`. */
  savedBeside(folder: string, from: string | undefined): Promise<RunData[]>;
  /** Opens a folder in the file browser; false where it is outside what the server shows. */
  openFolder(folder: string, from: string | undefined): Promise<boolean>;
}

export const IContext = new Token<Context>('@tunebook/jupyterlab:IContext', 'What the views of tunebook need of the application.');
