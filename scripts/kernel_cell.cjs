// One cell in a kernel of its own, as a Jupyter client runs it: for the self-test, which may have no Python with jupyter_client.
'use strict';
const { spawn } = require('node:child_process');
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const { createServer } = require('node:net');
const path = require('node:path');

async function freePorts(count) {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise((done) =>
          createServer().listen(0, '127.0.0.1', function () {
            done(this);
          }),
        ),
    ),
  );
  return Promise.all(
    servers.map(
      (server) =>
        new Promise((done) => {
          const { port } = server.address();
          server.close(() => done(port));
        }),
    ),
  );
}

/**
 * Starts the kernel in `folder` by the `argv` of its kernelspec, runs the cell `code` in it and ends it. `kernel` is the package's folder.
 * Resolves with the text of the cell's value; what went wrong, with what the kernel printed, is the error's message.
 */
async function runCell({ argv, kernel, folder, code, env = process.env, seconds = 60 }) {
  const zmq = createRequire(path.join(kernel, 'package.json'))('zeromq');
  const { Wire } = require(path.join(kernel, 'lib', 'protocol.js'));
  const [shell_port, iopub_port, stdin_port, control_port, hb_port] = await freePorts(5);
  const connection = {
    ...{ ip: '127.0.0.1', transport: 'tcp', key: randomUUID(), signature_scheme: 'hmac-sha256' },
    ...{ shell_port, iopub_port, stdin_port, control_port, hb_port },
  };
  const file = path.join(folder, 'connection.json');
  fs.writeFileSync(file, JSON.stringify(connection), { mode: 0o600 });
  const [command, ...args] = argv.map((arg) => arg.replace('{connection_file}', file));
  const child = spawn(command, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      printed = (printed + data).slice(-2000);
    });
  const ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(`it could not be started (${error.message})`));
    child.once('exit', (exit, signal) => resolve(`it ended with ${signal ?? `exit code ${exit}`}`));
  });
  const wire = new Wire(connection.key);
  const [shell, iopub] = [new zmq.Dealer({ linger: 0 }), new zmq.Subscriber({ linger: 0 })];
  iopub.subscribe();
  const cell = async () => {
    shell.connect(`tcp://127.0.0.1:${shell_port}`);
    iopub.connect(`tcp://127.0.0.1:${iopub_port}`);
    const content = { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false, stop_on_error: true };
    let value;
    for await (const frames of iopub) {
      const { header, content: said } = wire.parse(frames) ?? {};
      if (header?.msg_type === 'iopub_welcome') await shell.send(wire.frames({ type: 'execute_request', content, parent: {} }));
      if (header?.msg_type === 'error') throw new Error(`${said.ename}: ${said.evalue}`);
      if (header?.msg_type === 'execute_result') value = said.data['text/plain'];
      if (header?.msg_type === 'status' && said.execution_state === 'idle' && value !== undefined) return value;
    }
  };
  let late;
  const failed = new Promise((_, reject) => {
    ended.then((how) => reject(new Error(how)));
    late = setTimeout(() => reject(new Error(`it did not answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([cell(), failed]);
  } catch (error) {
    throw new Error(`${error.message}\n${printed}`.trim());
  } finally {
    clearTimeout(late);
    child.kill('SIGTERM');
    const stubborn = setTimeout(() => child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(stubborn);
    shell.close();
    iopub.close();
  }
}

module.exports = { runCell };
