// JupyterLab (or Notebook 7) on a folder of its own, and a Chromium to look at it with: for browser tests and benches.
import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { chromium } from 'playwright-core';
import { freePort } from './ports.mjs';
import { root } from './setup.mjs';

const temporary = (name) => mkdtempSync(join(tmpdir(), `tunebook-${name}-`));

/** Starts a server and waits until it answers at `url`; the function that this resolves with ends it. */
async function launch(command, args, env, url) {
  const server = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  for (let i = 0; i < 240; i++) {
    const up = await fetch(url).then(
      (response) => response.ok,
      () => false,
    );
    if (up) break;
    await new Promise((done) => setTimeout(done, 250));
  }
  return () =>
    new Promise((done) => {
      server.once('exit', done);
      server.kill('SIGTERM');
      setTimeout(() => server.kill('SIGKILL'), 10_000).unref();
    });
}

/** What a server needs to find the programs of a virtual environment and our kernel, and nothing of its user's. */
const surroundings = (bin) => ({
  PATH: `${bin}${delimiter}${process.env.PATH}`,
  JUPYTER_PATH: join(root, '.venv/share/jupyter'),
  JUPYTER_CONFIG_DIR: temporary('config'),
  JUPYTERLAB_WORKSPACES_DIR: temporary('workspaces'),
  JUPYTERLAB_SETTINGS_DIR: temporary('settings'),
});

/** Starts a server without a token on a free port; `stop` ends it, `settings` is the folder of its user's settings. app: 'lab' or 'notebook'. */
export async function startServer(folder, app = 'lab') {
  const base = `http://127.0.0.1:${await freePort()}`;
  const bin = join(root, app === 'lab' ? '.venv/bin' : '.venv-test/bin');
  const args = [
    ...['--no-browser', '--allow-root', `--port=${new URL(base).port}`, '--port-retries=0'],
    ...['--IdentityProvider.token=', '--ServerApp.password=', `--ServerApp.root_dir=${folder}`],
    '--LabApp.expose_app_in_browser=True',
  ];
  const env = surroundings(bin);
  const stop = await launch(join(bin, `jupyter-${app}`), args, env, `${base}/api/status`);
  return { base, settings: env.JUPYTERLAB_SETTINGS_DIR, stop };
}

/** Starts a JupyterHub whose users log in by name alone and have their servers in folders of `home`. */
export async function startHub(home) {
  const [base, hub, proxy] = await Promise.all([1, 2, 3].map(async () => `http://127.0.0.1:${await freePort()}`));
  const bin = join(root, '.venv-test/bin');
  const env = surroundings(bin);
  const config = join(temporary('hub'), 'jupyterhub_config.py');
  const given = (value) => JSON.stringify(value); // which Python reads as well
  writeFileSync(
    config,
    `
c = get_config()
c.JupyterHub.bind_url = ${given(base)}
c.JupyterHub.hub_bind_url = ${given(hub)}
c.ConfigurableHTTPProxy.api_url = ${given(proxy)}
c.ConfigurableHTTPProxy.command = [${given(join(root, 'node_modules/.bin/configurable-http-proxy'))}]
c.ConfigurableHTTPProxy.pid_file = ${given(join(config, '../proxy.pid'))}
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = ${given(join(config, '../secret'))}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.cleanup_servers = True
c.SimpleLocalProcessSpawner.home_dir_template = ${given(join(home, '{username}'))}
c.Spawner.args = ["--allow-root"]
c.Spawner.environment = ${given(env)}
c.Spawner.default_url = "/tree"
`,
  );
  return { base, stop: await launch(join(bin, 'jupyterhub'), ['-f', config], env, `${base}/hub/login`) };
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
