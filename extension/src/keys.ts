/** What our views are in. */
const VIEWS = '.tunebook-view, .tunebook-runs, .tunebook-document, .tunebook-run';
const ARROWS = ['ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight'];
const JUMPS = ['Home', 'End', 'PageUp', 'PageDown'];
const PRESS = [' ', 'Enter'];
const EDITS = [...ARROWS, ...JUMPS, 'Enter', 'Backspace', 'Delete'];
/** With Ctrl or Cmd: select all, copy, paste, cut, redo, undo. */
const CHORDS = /^[acvxyzVZ]$/;

/** What of a key press counts. */
export type Press = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'shiftKey'>;

/** Whether a kind of control does something with a key of its own. `kind`: its role, else an input's type, else its tag. */
export function understands(kind: string, { key, ctrlKey, metaKey, altKey, shiftKey }: Press): boolean {
  const typed = key.length === 1;
  if (kind === 'text')
    return ctrlKey || metaKey ? CHORDS.test(key) || EDITS.slice(0, -3).includes(key) : !altKey && (typed || EDITS.includes(key));
  if (ctrlKey || metaKey || altKey) return false;
  switch (kind) {
    case 'range':
      return ARROWS.includes(key) || JUMPS.includes(key);
    case 'select':
      return typed || ARROWS.includes(key) || JUMPS.includes(key) || key === 'Enter';
    case 'checkbox':
      return key === ' ';
    case 'tab':
      return [...ARROWS, ...JUMPS].includes(key) || (!shiftKey && PRESS.includes(key));
    case 'button':
    case 'summary':
      return !shiftKey && PRESS.includes(key); // Shift+Enter runs the cell, as everywhere
    default:
      return false;
  }
}

const kindOf = (node: Element): string =>
  node.getAttribute('role') === 'tab' ? 'tab' : node instanceof HTMLInputElement ? node.type : node.localName;

/** Whether something between the control and its view scrolls by the key. */
function scrolls(control: Element, view: Element, { key, ctrlKey, metaKey, altKey }: Press): boolean {
  if (ctrlKey || metaKey || altKey) return false;
  const sideways = key === 'ArrowLeft' || key === 'ArrowRight';
  if (!sideways && ![...ARROWS, ...JUMPS, ' '].includes(key)) return false;
  for (let node: Element | null = control; node; node = node === view ? null : node.parentElement) {
    const style = getComputedStyle(node);
    const [inner, outer, flow] = sideways
      ? [node.scrollWidth, node.clientWidth, style.overflowX]
      : [node.scrollHeight, node.clientHeight, style.overflowY];
    if (inner > outer + 1 && /auto|scroll/.test(flow)) return true;
  }
  return false;
}

/**
 * Keys that a control understands stay with it. JupyterLab's shortcuts listen on the document before an element hears of a key, and
 * leave those alone whose target says so; all other keys stay JupyterLab's (Ctrl+S saves from anywhere).
 */
export function keepKeys(): void {
  window.addEventListener(
    'keydown',
    (event) => {
      const control = event.target;
      const view = control instanceof Element ? control.closest(VIEWS) : null;
      if (!(control instanceof Element) || !view) return;
      const closes = event.key === 'Escape' && control.closest('details[open]') !== null;
      const kept = closes || understands(kindOf(control), event) || scrolls(control, view, event);
      control.toggleAttribute('data-lm-suppress-shortcuts', kept);
    },
    { capture: true },
  );
}
