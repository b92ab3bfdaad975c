import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { RUN_MIME } from '@tunebook/views';
import { RunView } from './run_view';

/** Renders training runs; ranks before HTML, so that the live view is what JupyterLab shows. */
const runs: JupyterFrontEndPlugin<void> = {
  id: '@tunebook/jupyterlab:runs',
  description: 'Shows the training runs of tunebook as live plots.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (_app: JupyterFrontEnd, registry: IRenderMimeRegistry) => {
    registry.addFactory({ safe: true, mimeTypes: [RUN_MIME], defaultRank: 10, createRenderer: () => new RunView() }, 10);
  },
};

export default [runs];
