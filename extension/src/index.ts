import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { PageConfig } from '@jupyterlab/coreutils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { RUN_MIME } from '@tunebook/views';
import { addCommands } from './commands';
import { type Context, DEFAULT_SETTINGS, type ViewSettings } from './context';
import { serverPath } from './paths';
import { RunsPanel } from './run/panel';
import { RunRenderer } from './run/renderer';
import { RunStore } from './run/store';

const NAME = '@tunebook/jupyterlab';

/** Renders training runs and follows them in a side panel. */
const runs: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:plugin`,
  description: 'Shows the training runs of tunebook as live plots, and takes what is asked of them.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [INotebookTracker, ICommandPalette, IThemeManager, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    registry: IRenderMimeRegistry,
    notebooks: INotebookTracker | null,
    commandPalette: ICommandPalette | null,
    themes: IThemeManager | null,
    settingRegistry: ISettingRegistry | null,
    translator: ITranslator | null,
  ) => {
    const trans = (translator ?? nullTranslator).load('tunebook');
    const settings: ViewSettings = { ...DEFAULT_SETTINGS };
    const restyled = new Signal<object, void>(app);
    const context: Context = {
      trans,
      settings,
      restyled,
      async openFolder(folder, from) {
        const path = serverPath(folder, from, PageConfig.getOption('serverRoot'));
        if (path === undefined || !app.commands.hasCommand('filebrowser:open-path')) return false;
        return app.commands.execute('filebrowser:open-path', { path }).then(
          () => true,
          () => false,
        );
      },
    };
    themes?.themeChanged.connect(() => restyled.emit());
    void settingRegistry?.load(`${NAME}:plugin`).then(
      (loaded) => {
        const read = () => {
          Object.assign(settings, DEFAULT_SETTINGS, loaded.composite);
          restyled.emit();
        };
        loaded.changed.connect(read);
        read();
      },
      () => {}, // without its schema the defaults hold
    );
    const factory = (store: RunStore) => ({
      safe: true,
      mimeTypes: [RUN_MIME],
      defaultRank: 10,
      createRenderer: () => new RunRenderer(store, context),
    });
    // Views of a notebook share its session; elsewhere (a file, a preview) a run is shown as it is.
    registry.addFactory(factory(new RunStore(trans)), 10);
    if (!notebooks) return;
    const stores = new WeakMap<NotebookPanel, RunStore>();
    const adopt = (notebook: NotebookPanel) => {
      if (stores.has(notebook)) return;
      const store = new RunStore(trans, notebook.sessionContext, () => notebook.context.path);
      stores.set(notebook, store);
      notebook.content.rendermime.addFactory(factory(store), 10);
      notebook.disposed.connect(() => store.dispose());
    };
    notebooks.forEach(adopt);
    notebooks.widgetAdded.connect((_, notebook) => adopt(notebook));
    const panel = new RunsPanel(notebooks, (notebook) => stores.get(notebook), context);
    app.shell.add(panel, 'right', { rank: 600, type: 'Training runs' });
    addCommands(app, panel, trans, commandPalette);
  },
};

export default [runs];
