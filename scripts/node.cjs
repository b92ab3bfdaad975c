// The Node that runs this, looked at before anything else: in words that an old one reads, too.
'use strict';
const OLDEST = 20;
/** The releases that `npm test` runs on. */
const TRIED = [20, 22, 24, 26];

const { node: version } = process.versions;
const major = Number(version.split('.')[0]);
if (major < OLDEST) {
  console.error(
    `Node ${OLDEST} or later is needed; this is ${version}. Install a current one (https://nodejs.org, or your package manager or nvm) and run the same command again.`,
  );
  process.exit(1);
}

/** What is to be said of a Node that nobody has tried yet; undefined for the others. */
const untried = () =>
  major > Math.max(...TRIED)
    ? `Note: tunebook is tested on Node ${TRIED.join(', ')}; this is ${version}, which is newer. The self-test will tell whether it works.`
    : undefined;

module.exports = { TRIED, untried };
