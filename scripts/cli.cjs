#!/usr/bin/env node
// npx tunebook setup: builds the native engine (about a minute, once for each machine) and tests it.
'use strict';
const { untried } = require('./node.cjs');
const { SetupError, ensureNative, instructionSet } = require('./native.cjs');
const { selfTest } = require('./selftest.cjs');

const [command] = process.argv.slice(2);
if (command !== 'setup') {
  console.log('usage: npx tunebook setup\n\nBuilds the native engine for this CPU. Needs Python 3.10+ (for pip) and a C++ compiler.');
  process.exit(command ? 2 : 0);
}

async function setUp() {
  if (untried()) console.log(untried());
  await ensureNative((text) => console.log(text));
  console.log('self-test');
  await selfTest();
  console.log(`The native engine is ready (${instructionSet()}).`);
}

setUp().catch((error) => {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exit(1);
});
