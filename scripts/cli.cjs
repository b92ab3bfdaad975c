#!/usr/bin/env node
// npx tunebook: the commands of src/cli, on a Node that can run them.
'use strict';
require('./node.cjs');
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const main = join(__dirname, '..', 'lib', 'cli', 'main.js');
if (!existsSync(main)) {
  console.error('This clone is not built yet: run `npm start` (or `npm run build`) in it first.');
  process.exit(1);
}
require(main)
  .main(process.argv.slice(2))
  .then((code) => process.exit(code));
