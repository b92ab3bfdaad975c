// What tunebook takes of tfjs-node: the backend, its kernels and the sources of its binding, without its install script (which needs a
// download that may fail), its dependencies, and what it asks of Node that Node has since removed.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, SetupError } from './native.cjs';

const ENTRIES = ['register_all_kernels.js', 'nodejs_kernel_backend.js', 'int64_tensors.js'];
/** What stands in for modules; a file that needs more of one than this is not taken. */
const INSTEAD = {
  // Node 23 removed isNullOrUndefined and warns of isArray.
  util: { isNullOrUndefined: '(value) => value == null', isArray: 'Array.isArray' },
  // Messages for TensorBoard's histograms, on google-protobuf: ours are written without TensorFlow.
  './proto/api_pb': { HistogramPluginData: 'null', SummaryMetadata: 'null' },
};
const IMPORT = /\b(?:var|const) (\w+) = require\((['"])([^'"]+)\2\);/g;
const ALLOWED = /^(@tensorflow\/tfjs(-core)?|os|\.\.?\/\w+(\/\w+)?)$/;
const FAULT = 'This version of tfjs-node is not the one that tunebook knows: run `npm ci`, or change scripts/vendor.mjs with it.';

/** A file's text with its imports mended; a SetupError where it asks for something that nobody has looked at. */
export function mend(name, text) {
  let changed = false;
  const mended = text.replaceAll(IMPORT, (line, variable, _quote, module) => {
    const given = INSTEAD[module];
    if (!given) {
      if (!ALLOWED.test(module)) throw new SetupError(`tfjs-node's ${name} imports ${module}, which is not vendored. ${FAULT}`);
      return line;
    }
    const used = new Set([...text.matchAll(new RegExp(`\\b${variable}\\b(?:\\)?\\.(\\w+))?`, 'g'))].slice(1).map(([, member]) => member));
    for (const member of used)
      if (!Object.hasOwn(given, member)) throw new SetupError(`tfjs-node's ${name} uses ${module}'s ${member ?? 'whole'}. ${FAULT}`);
    changed = true;
    return `var ${variable} = { ${[...used].map((member) => `${member}: ${given[member]}`).join(', ')} };`;
  });
  const left = mended.replaceAll(IMPORT, '').match(/\brequire\(|\bimport\(|\bprocess\.(?!hrtime\b)\w+|\bBuffer\b/);
  if (left) throw new SetupError(`tfjs-node's ${name} has ${left[0]}, which nobody has looked at. ${FAULT}`);
  return changed ? `// Changed by tunebook (scripts/vendor.mjs): what it imported of Node stands here.\n${mended}` : mended;
}

/** Makes vendor/tfjs-node anew out of node_modules. */
export function vendorTfjsNode() {
  const from = join(root, 'node_modules', '@tensorflow', 'tfjs-node');
  const to = join(root, 'vendor', 'tfjs-node');
  rmSync(to, { recursive: true, force: true });
  mkdirSync(join(to, 'dist', 'kernels'), { recursive: true });
  cpSync(join(from, 'binding'), join(to, 'binding'), { recursive: true });
  const kernels = readdirSync(join(from, 'dist', 'kernels')).filter((name) => /(?<!_test)\.js$/.test(name));
  for (const name of [...ENTRIES, ...kernels.map((kernel) => join('kernels', kernel))])
    writeFileSync(join(to, 'dist', name), mend(name, readFileSync(join(from, 'dist', name), 'utf8')));
  const { name, version, license, repository } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'));
  writeFileSync(join(to, 'package.json'), `${JSON.stringify({ name, version, license, repository }, null, 2)}\n`);
}
