import { expect, it } from 'vitest';
import { serverPath } from '../../extension/src/paths';

it.each([
  ['out', 'course/a.ipynb', '/home/me', 'course/out'],
  ['./out/run 1', 'a.ipynb', '/home/me', 'out/run 1'],
  ['../out', 'course/a.ipynb', '/home/me', 'out'],
  ['../../out', 'course/a.ipynb', '/home/me', undefined],
  ['/home/me/x/y', 'a.ipynb', '/home/me/', 'x/y'],
  ['/home/meow/x', 'a.ipynb', '/home/me', undefined],
  ['/tmp/x', undefined, '', undefined],
  ['out', undefined, '/home/me', undefined],
])('%s beside %s under %s is %s', (folder, from, root, expected) => expect(serverPath(folder, from, root)).toBe(expected));
