import { expect, it } from 'vitest';
import { type Press, understands } from '../../extension/src/keys';

const press = (keys: string): Press => {
  const parts = keys.split('+');
  const has = (name: string) => parts.includes(name);
  return {
    key: parts.at(-1)!.replace('Space', ' '),
    ctrlKey: has('Ctrl'),
    metaKey: has('Meta'),
    altKey: has('Alt'),
    shiftKey: has('Shift'),
  };
};

it.each<[kind: string, kept: string, left: string]>([
  [
    'text',
    'a Shift+A 5 Space Enter Backspace Delete ArrowLeft Home Ctrl+a Ctrl+v Meta+z Ctrl+ArrowLeft',
    'Ctrl+s Ctrl+Enter F1 Escape Alt+b Ctrl+Shift+C',
  ],
  ['range', 'ArrowLeft ArrowRight ArrowUp ArrowDown Home End PageUp PageDown', 'Enter a Ctrl+s Ctrl+ArrowUp Shift+Enter'],
  ['checkbox', 'Space Shift+Space', 'Enter ArrowDown a Ctrl+s'],
  ['select', 'ArrowDown ArrowUp Home m Space Enter', 'Ctrl+s Escape Alt+b'],
  ['button', 'Space Enter', 'Shift+Enter Ctrl+Enter ArrowDown a'],
  ['summary', 'Space Enter', 'Shift+Enter Ctrl+s ArrowLeft'],
  ['tab', 'ArrowLeft ArrowRight Home End Space Enter', 'Shift+Enter Ctrl+s b'],
  ['div', '', 'ArrowDown Space Enter a'],
])('a %s keeps the keys that it understands, and leaves JupyterLab the others', (kind, kept, left) => {
  for (const keys of kept.split(' ').filter(Boolean)) expect(understands(kind, press(keys)), keys).toBe(true);
  for (const keys of left.split(' ')) expect(understands(kind, press(keys)), keys).toBe(false);
});
