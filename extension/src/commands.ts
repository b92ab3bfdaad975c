import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ICommandPalette } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Action } from '@tunebook/views';
import type { RunsPanel } from './run/panel';
import { CATEGORY } from './start';
import { icon } from './start/icon';

export const SHOW_RUNS = 'tunebook:show-runs';

/** The palette's commands: they act on the run that the side panel follows. */
export function addCommands(app: JupyterFrontEnd, panel: RunsPanel, trans: TranslationBundle, palette: ICommandPalette | null): void {
  const category = CATEGORY;
  const add = (id: string, label: string, execute: () => void, isEnabled?: () => boolean) => {
    app.commands.addCommand(id, { label, icon, execute, isEnabled, describedBy: { args: { type: 'object', properties: {} } } });
    palette?.addItem({ command: id, category });
  };
  add(SHOW_RUNS, trans.__('Show Training Runs'), () => app.shell.activateById(panel.id));
  const actions: [Action, string][] = [
    ['pause', trans.__('Pause Training')],
    ['resume', trans.__('Resume Training')],
    ['stop', trans.__('Stop Training and Save')],
    ['sample', trans.__('Sample Now')],
    ['evaluate', trans.__('Evaluate Now')],
  ];
  for (const [action, label] of actions)
    add(
      `tunebook:${action}`,
      label,
      () => panel.latest()?.ask(action),
      () => panel.latest()?.idleReason === '',
    );
}
