// JupyterLab (or Notebook 7) on a folder of its own, and a Chromium to look at it with: for browser tests and benches.
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { chromium } from 'playwright-core';
import { root } from './setup.mjs';

const temporary = (name) => mkdtempSync(join(tmpdir(), `tunebook-${name}-`));

const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

/** Starts a server without a token on a free port; `stop` ends it, `settings` is the folder of its user's settings. app: 'lab' or 'notebook'. */
export async function startServer(folder, app = 'lab') {
  const port = await freePort();
  const bin = join(root, app === 'lab' ? '.venv/bin' : '.venv-test/bin');
  const args = [
    ...['--no-browser', '--allow-root', `--port=${port}`, '--port-retries=0', '--IdentityProvider.token=', '--ServerApp.password='],
    ...[
      `--ServerApp.root_dir=${folder}`,
      '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
      '--LabApp.news_url=None',
      '--LabApp.expose_app_in_browser=True',
    ],
  ];
  const settings = temporary('settings');
  const server = spawn(join(bin, `jupyter-${app}`), args, {
    env: {
      ...process.env,
      PATH: `${bin}${delimiter}${process.env.PATH}`,
      JUPYTER_PATH: join(root, '.venv/share/jupyter'),
      JUPYTER_CONFIG_DIR: temporary('config'),
      JUPYTERLAB_WORKSPACES_DIR: temporary('workspaces'),
      JUPYTERLAB_SETTINGS_DIR: settings,
    },
    stdio: 'ignore',
  });
  const base = `http://127.0.0.1:${port}`;
  for (let i = 0; i < 240; i++) {
    const up = await fetch(`${base}/api/status`).then(
      (response) => response.ok,
      () => false,
    );
    if (up) break;
    await new Promise((done) => setTimeout(done, 250));
  }
  const stop = () =>
    new Promise((done) => {
      server.once('exit', done);
      server.kill('SIGTERM');
      setTimeout(() => server.kill('SIGKILL'), 10_000).unref();
    });
  return { base, settings, stop };
}

/** A headless Chromium that asks nobody for anything. */
export const startBrowser = (executablePath) =>
  chromium.launch({
    executablePath,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
      ...['--disable-background-networking', '--disable-component-update'],
    ],
  });

/** A notebook file of code cells; a cell is its source, or {source, outputs}. */
export const notebookOf = (cells) => ({
  cells: cells.map((cell, i) => ({
    ...{ cell_type: 'code', id: `c${i}`, metadata: {}, execution_count: null, outputs: [] },
    ...(typeof cell === 'string' ? { source: cell } : cell),
  })),
  metadata: { kernelspec: { name: 'tunebook', display_name: 'TypeScript (tunebook)', language: 'typescript' } },
  nbformat: 4,
  nbformat_minor: 5,
});
