import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { PageConfig } from '@jupyterlab/coreutils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import {
  ADAPTER_MIME,
  PREVIEW_MIME,
  type PreviewData,
  parseAdapter,
  parsePreview,
  parseQuantization,
  parseRun,
  parseSweep,
  QUANTIZATION_MIME,
  RUN_MIME,
  SWEEP_MIME,
} from '@tunebook/views';
import { AdapterFactory, FileModelFactory } from './adapter/document';
import { AdapterView } from './adapter/view';
import { addApi } from './api';
import { ViewRenderer } from './charts/renderer';
import { addCommands, SHOW_RUNS } from './commands';
import { type Context, DEFAULT_SETTINGS, IContext, type ViewSettings } from './context';
import { isOurs } from './kernel';
import { keepKeys } from './keys';
import { Missed } from './missed';
import { serverPath } from './paths';
import { PreviewView } from './preview/view';
import { QuantizationView } from './quantization/view';
import { hearOfRuns } from './run/known';
import { collect, RunsPanel } from './run/panel';
import { readSaved, savedBeside } from './run/saved';
import { RunStore } from './run/store';
import { RunView } from './run/view';
import { addStart } from './start';
import { icon } from './start/icon';
import { SweepView } from './sweep/view';

const NAME = '@tunebook/jupyterlab';

/** Settings, theme and language, which all views share. */
const context: JupyterFrontEndPlugin<Context> = {
  id: `${NAME}:plugin`,
  description: 'Settings of the views of tunebook.',
  autoStart: true,
  provides: IContext,
  optional: [IThemeManager, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    themes: IThemeManager | null,
    settingRegistry: ISettingRegistry | null,
    translator: ITranslator | null,
  ): Context => {
    keepKeys();
    const settings: ViewSettings = { ...DEFAULT_SETTINGS };
    const restyled = new Signal<object, void>(app);
    themes?.themeChanged.connect(() => restyled.emit());
    settingRegistry?.load(`${NAME}:plugin`).then(
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
    const trans = (translator ?? nullTranslator).load('tunebook');
    const { contents } = app.serviceManager;
    return {
      trans,
      settings,
      restyled,
      savedRun: (path) => readSaved(contents, path, trans),
      async savedBeside(folder, from) {
        const path = serverPath(folder, from, PageConfig.getOption('serverRoot'));
        return path === undefined ? [] : savedBeside(contents, path, trans);
      },
      async openFolder(folder, from) {
        const path = serverPath(folder, from, PageConfig.getOption('serverRoot'));
        if (path === undefined || !app.commands.hasCommand('filebrowser:open-path')) return false;
        // Asked first, since the command shows a dialog of its own where the folder is gone, or the notebook was moved away from it.
        return app.serviceManager.contents
          .get(path, { content: false })
          .then(() => app.commands.execute('filebrowser:open-path', { path }))
          .then(
            () => true,
            () => false,
          );
      },
    };
  },
};

/** Renders training runs and follows them in a side panel. */
const runs: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:runs`,
  description: 'Shows the training runs of tunebook as live plots, and takes what is asked of them.',
  autoStart: true,
  requires: [IRenderMimeRegistry, IContext],
  optional: [INotebookTracker, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    registry: IRenderMimeRegistry,
    context: Context,
    notebooks: INotebookTracker | null,
    palette: ICommandPalette | null,
  ) => {
    const { trans } = context;
    const factory = (store: RunStore) => ({
      safe: true,
      mimeTypes: [RUN_MIME],
      defaultRank: 10,
      createRenderer: () =>
        new ViewRenderer({
          mime: RUN_MIME,
          parse: parseRun,
          view: (run) => new RunView(store.take(run), store, context),
          goesOn: (view, run) => view.shows(store.take(run)),
        }),
    });
    const sweeps = (store: RunStore) => ({
      ...factory(store),
      mimeTypes: [SWEEP_MIME],
      createRenderer: () =>
        new ViewRenderer({
          mime: SWEEP_MIME,
          parse: parseSweep,
          view: (sweep) => new SweepView(sweep, store, context),
          goesOn: (view, sweep) => view.goesOn(sweep),
        }),
    });
    addApi(app, registry, trans, palette);
    // Views of a notebook share its session; elsewhere (a file, a preview) a run is shown as it is.
    const alone = new RunStore(trans);
    registry.addFactory(factory(alone), 10);
    registry.addFactory(sweeps(alone), 10);
    if (!notebooks) return;
    const stores = new WeakMap<NotebookPanel, RunStore>();
    const missed = new WeakMap<NotebookPanel['context'], Missed>();
    const adopt = (notebook: NotebookPanel) => {
      if (stores.has(notebook)) return;
      const store = new RunStore(trans, notebook.sessionContext, () => notebook.context.path);
      store.peers = () => {
        const peers: RunStore[] = [];
        notebooks.forEach((other) => {
          const theirs = stores.get(other);
          if (theirs && other !== notebook) peers.push(collect(other, theirs));
        });
        return peers;
      };
      stores.set(notebook, store);
      hearOfRuns(notebook, store);
      const mark = async () => {
        const kernel = notebook.sessionContext.session?.kernel;
        notebook.toggleClass('tunebook-notebook', Boolean(kernel && (await isOurs(kernel))));
      };
      notebook.sessionContext.kernelChanged.connect(() => void mark());
      void notebook.sessionContext.ready.then(mark);
      const shown = () => notebooks.find(({ context }) => context === notebook.context)?.content.widgets ?? [];
      if (!missed.has(notebook.context)) missed.set(notebook.context, new Missed(notebook.context, shown));
      notebook.content.rendermime.addFactory(factory(store), 10);
      notebook.content.rendermime.addFactory(sweeps(store), 10);
      notebook.disposed.connect(() => store.dispose());
    };
    notebooks.forEach(adopt);
    notebooks.widgetAdded.connect((_, notebook) => adopt(notebook));
    const panel = new RunsPanel(notebooks, (notebook) => stores.get(notebook), context);
    app.shell.add(panel, 'right', { rank: 600, type: 'Training runs' });
    addCommands(app, panel, trans, palette);
  },
};

/** Renders what `inspect` says of an adapter, and opens saved adapters from the file browser. */
const adapters: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:adapters`,
  description: 'Shows what a LoRA adapter adds to its base model.',
  autoStart: true,
  requires: [IRenderMimeRegistry, IContext],
  activate: (app: JupyterFrontEnd, registry: IRenderMimeRegistry, context: Context) => {
    const createRenderer = () =>
      new ViewRenderer({ mime: ADAPTER_MIME, parse: parseAdapter, view: (data) => new AdapterView(data, context) });
    registry.addFactory({ safe: true, mimeTypes: [ADAPTER_MIME], defaultRank: 10, createRenderer }, 10);
    const { docRegistry, serviceManager } = app;
    const fileType = 'tunebook-adapter';
    const { trans } = context;
    docRegistry.addFileType({
      name: fileType,
      displayName: trans.__('LoRA adapter'),
      icon,
      pattern: '^adapter_model\\.safetensors$',
      mimeTypes: ['application/octet-stream'],
      fileFormat: 'base64',
      contentType: 'file',
    });
    docRegistry.addModelFactory(new FileModelFactory());
    docRegistry.addWidgetFactory(
      new AdapterFactory(serviceManager, context, {
        name: 'tunebook-adapter-inspector',
        label: trans.__('Adapter Inspector'),
        modelName: 'tunebook-file',
        fileTypes: [fileType],
        defaultFor: [fileType],
        readOnly: true,
      }),
    );
  },
};

/** Renders what `inspect_quantization` says of a model's weights. */
const quantizations: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:quantizations`,
  description: "Shows what packing a model's weights into few bits changes.",
  autoStart: true,
  requires: [IRenderMimeRegistry, IContext],
  activate: (_: JupyterFrontEnd, registry: IRenderMimeRegistry, context: Context) => {
    const createRenderer = () =>
      new ViewRenderer({ mime: QUANTIZATION_MIME, parse: parseQuantization, view: (data) => new QuantizationView(data, context) });
    registry.addFactory({ safe: true, mimeTypes: [QUANTIZATION_MIME], defaultRank: 10, createRenderer }, 10);
  },
};

/** Renders rows as a model sees them before it is trained on them. */
const previews: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:previews`,
  description: 'Shows rows as a model sees them, what of them is learned, and what looks wrong.',
  autoStart: true,
  requires: [IRenderMimeRegistry, IContext],
  activate: (_: JupyterFrontEnd, registry: IRenderMimeRegistry, context: Context) => {
    const view = (data: PreviewData) => new PreviewView(data, context);
    const createRenderer = () => new ViewRenderer({ mime: PREVIEW_MIME, parse: parsePreview, view, className: 'tunebook-shown' });
    registry.addFactory({ safe: true, mimeTypes: [PREVIEW_MIME], defaultRank: 10, createRenderer }, 10);
  },
};

/** What palette and launcher find: a new fine-tune, the runs, a saved adapter. */
const start: JupyterFrontEndPlugin<void> = {
  id: `${NAME}:start`,
  description: 'Begins a fine-tune from a template, and opens runs and saved adapters, from the launcher and the palette.',
  autoStart: true,
  requires: [IContext],
  optional: [ICommandPalette, ILauncher, INotebookTracker, IDocumentManager],
  activate: (
    app: JupyterFrontEnd,
    { trans }: Context,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    notebooks: INotebookTracker | null,
    documents: IDocumentManager | null,
  ) => addStart({ app, trans, palette, launcher, notebooks, documents }, SHOW_RUNS),
};

export default [context, runs, adapters, quantizations, previews, start];
