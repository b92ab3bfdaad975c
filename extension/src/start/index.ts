import type { JupyterFrontEnd } from '@jupyterlab/application';
import { type ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import { FileDialog } from '@jupyterlab/filebrowser';
import type { ILauncher } from '@jupyterlab/launcher';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { icon } from './icon';
import { template } from './template';

/** What palette and launcher find under 'tunebook'. */
export const CATEGORY = 'tunebook';

const ADAPTER = /^adapter_model\.safetensors$/;

interface Given {
  app: JupyterFrontEnd;
  trans: TranslationBundle;
  palette: ICommandPalette | null;
  launcher: ILauncher | null;
  notebooks: INotebookTracker | null;
  documents: IDocumentManager | null;
}

/** A new notebook of its own in the reader's folder, so that nothing that came with tunebook is written into. */
async function newFineTune({ app, trans, notebooks }: Given, cwd: unknown): Promise<void> {
  const { contents } = app.serviceManager;
  const folder = typeof cwd === 'string' ? cwd : PathExt.dirname(notebooks?.currentWidget?.context.path ?? '');
  const made = await contents.newUntitled({ path: folder, type: 'notebook' });
  await contents.save(made.path, { type: 'notebook', format: 'json', content: template(trans) });
  const taken = new Set(((await contents.get(folder)).content as { name: string }[]).map(({ name }) => name));
  let name = 'fine-tune.ipynb';
  for (let i = 2; taken.has(name); i++) name = `fine-tune-${i}.ipynb`;
  const { path } = await contents.rename(made.path, PathExt.join(folder, name));
  await app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
}

/** Asks for the file of a saved adapter and opens it. */
async function inspectAdapter({ app, trans, documents }: Given): Promise<void> {
  if (!documents) return;
  const { button, value } = await FileDialog.getOpenFiles({
    manager: documents,
    title: trans.__('Which adapter_model.safetensors is to be looked into?'),
    filter: ({ type, name }) => (type === 'directory' || ADAPTER.test(name) ? {} : null),
  });
  const file = button.accept && value?.find(({ name }) => ADAPTER.test(name));
  if (file) await app.commands.execute('docmanager:open', { path: file.path });
}

/** The commands that a new user looks for. */
export function addStart(given: Given, showRuns: string): void {
  const { app, trans, palette, launcher } = given;
  const args = { type: 'object', properties: { cwd: { type: 'string', description: 'Where the notebook is made' } } };
  const add = (id: string, label: string, caption: string, execute: (cwd: unknown) => Promise<void>) => {
    app.commands.addCommand(id, {
      ...{ label, caption, icon, describedBy: { args } },
      execute: ({ cwd }) => execute(cwd).catch((error) => showErrorMessage(label, error)),
    });
    palette?.addItem({ command: id, category: CATEGORY });
  };
  const [create, look] = ['tunebook:new-fine-tune', 'tunebook:inspect-adapter'];
  add(create, trans.__('New Fine-Tune'), trans.__('A notebook that trains an adapter, in this folder'), (cwd) => newFineTune(given, cwd));
  add(look, trans.__('Inspect Adapter…'), trans.__('What a saved adapter adds to its model'), () => inspectAdapter(given));
  for (const [rank, command] of [create, showRuns, look].entries()) launcher?.add({ command, category: CATEGORY, rank });
}
