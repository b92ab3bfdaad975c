type Child = Node | string | undefined | false;

/** An element with properties, aria-* and data-* attributes, and children; text is only ever text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Record<string, unknown> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.includes('-') || name === 'role' || name === 'for' || name === 'list') node.setAttribute(name, String(value));
    else (node as unknown as Record<string, unknown>)[name] = value;
  }
  node.append(...children.filter((child) => child !== undefined && child !== false));
  return node;
}

/** A table with a heading row, or with heading cells in its first column. */
export function table(rows: readonly (readonly string[])[], { caption, heads }: { caption: string; heads?: string[] }): HTMLElement {
  const body = rows.map((cells) =>
    element(
      'tr',
      {},
      ...cells.map((cell, i) => (i === 0 ? element('th', { scope: 'row', textContent: cell }) : element('td', { textContent: cell }))),
    ),
  );
  return element(
    'table',
    {},
    element('caption', { textContent: caption }),
    heads && element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', { scope: 'col', textContent: head })))),
    element('tbody', {}, ...body),
  );
}

export const button = (textContent: string, title: string, onclick: () => unknown): HTMLButtonElement =>
  element('button', { type: 'button', className: 'tunebook-button', textContent, title, onclick });

let ids = 0;
export const freshId = (): string => `tunebook-${++ids}`;

export type Tab = readonly [name: string, panel: HTMLElement];

/** Tabs as the ARIA practices have them: arrows move, Home and End jump. `shown` is told which panel is open, at first too. */
export function tabs(list: readonly Tab[], label: string, shown: (panel: HTMLElement) => void): HTMLElement {
  const buttons = list.map(([name, panel]) => {
    const id = freshId();
    panel.id = `${id}-panel`;
    panel.setAttribute('role', 'tabpanel');
    panel.setAttribute('aria-labelledby', id);
    return element('button', { type: 'button', id, role: 'tab', 'aria-controls': panel.id, textContent: name });
  });
  const choose = (i: number, focus = false) => {
    for (const [j, button] of buttons.entries()) {
      button.setAttribute('aria-selected', String(i === j));
      button.tabIndex = i === j ? 0 : -1;
      list[j][1].hidden = i !== j;
    }
    if (focus) buttons[i].focus();
    shown(list[i][1]);
  };
  for (const [i, button] of buttons.entries()) {
    button.onclick = () => choose(i);
    button.onkeydown = (event) => {
      const last = buttons.length - 1;
      const to = { ArrowRight: i === last ? 0 : i + 1, ArrowLeft: i ? i - 1 : last, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(to, true);
    };
  }
  choose(0);
  return element('div', { className: 'tunebook-tabs', role: 'tablist', 'aria-label': label }, ...buttons);
}

/** A menu under its label, which Esc and whatever is done elsewhere on the page close. */
export function menu(label: string, className: string, content: HTMLElement): HTMLDetailsElement {
  const head = element('summary', { textContent: label });
  const node = element('details', { className }, head, content);
  const elsewhere = (event: Event) => {
    if (!node.contains(event.target as Node)) node.open = false;
  };
  const closed = ({ key }: KeyboardEvent) => {
    if (key !== 'Escape') return;
    node.open = false;
    head.focus();
  };
  node.ontoggle = () => {
    const listen = node.open ? document.addEventListener : document.removeEventListener;
    listen.call(document, 'pointerdown', elsewhere, true);
    listen.call(document, 'focusin', elsewhere, true);
    listen.call(document, 'keydown', closed as EventListener, true);
  };
  return node;
}

/** Hands a file to the browser to save. */
export function download(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  element('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A name as it may stand in a file's. */
export const fileName = (name: string): string => name.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-').slice(0, 80) || 'run';
