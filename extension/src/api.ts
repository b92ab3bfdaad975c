import type { JupyterFrontEnd } from '@jupyterlab/application';
import { type ICommandPalette, MainAreaWidget } from '@jupyterlab/apputils';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import { type IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { slug, target } from './api_links';
import { button, element } from './dom';
import { icon } from './start/icon';

const HOME = 'README.md';
/** Where the pages lie beside the extension: docs/api as it was when that was built. */
const pageUrl = (page: string) => URLExt.join(PageConfig.getOption('fullLabextensionsUrl'), '@tunebook/jupyterlab/api', page);

interface Visit {
  page: string;
  /** How far it was scrolled when it was left. */
  top: number;
}

/** The pages that are made of the library's docstrings; links from one to another stay in here, those to notebooks open them. */
class ApiPages extends Widget {
  private readonly text = element('div', { className: 'tunebook-page', tabIndex: 0 });
  private readonly said = element('span', { role: 'status' });
  private readonly back: HTMLButtonElement;
  private readonly visited: Visit[] = [];

  constructor(
    private readonly registry: IRenderMimeRegistry,
    private readonly open: (notebook: string) => Promise<boolean>,
    private readonly trans: TranslationBundle,
  ) {
    super();
    this.addClass('tunebook-api');
    this.back = button(trans.__('Back'), trans.__('To the page before'), () => {
      this.visited.pop();
      const before = this.visited.pop();
      if (before) void this.turnTo(before.page, () => before.top);
    });
    const all = button(trans.__('All names'), trans.__('To the list of classes and functions'), () => this.go(HOME));
    this.node.append(element('div', { className: 'tunebook-tools' }, this.back, all, this.said), this.text);
    this.text.addEventListener('click', (event) => this.follow(event), true);
    void this.turnTo(HOME);
  }

  private follow(event: MouseEvent): void {
    const link = (event.target as Element).closest('a[href]');
    const { page } = this.visited[this.visited.length - 1];
    const to = link && target(page, link.getAttribute('href') as string);
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    if ('notebook' in to) void this.openNotebook(to.notebook);
    else void this.go(to.page, () => this.topOf(to.anchor));
  }

  /** How far down the page a heading or an option's row is; 0 where there is none of that name. */
  private topOf(anchor: string | undefined): number {
    const { text } = this;
    const places = [...text.querySelectorAll<HTMLElement>('h1, h2, h3, h4, h5, h6, td:first-child')];
    const place = anchor && places.find(({ textContent }) => slug(textContent ?? '') === anchor);
    return place ? place.getBoundingClientRect().top - text.getBoundingClientRect().top + text.scrollTop : 0;
  }

  private async openNotebook(path: string): Promise<void> {
    this.said.textContent = (await this.open(path))
      ? ''
      : this.trans.__('%1 is part of tunebook’s repository, which is not in the folder that is shown here.', path);
  }

  /** To another page, from which Back leads to where one was. */
  private go(page: string, top?: () => number): Promise<void> {
    const left = this.visited[this.visited.length - 1];
    if (left) left.top = this.text.scrollTop;
    return this.turnTo(page, top);
  }

  private async turnTo(page: string, top: () => number = () => 0): Promise<void> {
    const response = await fetch(pageUrl(page)).catch(() => undefined);
    if (this.isDisposed) return;
    if (!response?.ok) {
      this.said.textContent = this.trans.__('The page %1 is not part of this installation.', page);
      return;
    }
    const renderer = this.registry.createRenderer('text/markdown');
    await renderer.renderModel(new MimeModel({ data: { 'text/markdown': await response.text() } }));
    this.said.textContent = '';
    this.visited.push({ page, top: 0 });
    this.back.disabled = this.visited.length < 2;
    this.text.replaceChildren(renderer.node);
    this.text.scrollTop = top();
  }
}

/** `tunebook: API`, in the Help menu (schema/plugin.json) and the palette. */
export function addApi(
  app: JupyterFrontEnd,
  registry: IRenderMimeRegistry,
  trans: TranslationBundle,
  palette: ICommandPalette | null,
): void {
  const { commands, shell, serviceManager } = app;
  /** The notebook of this path, or of this name in the folder that is shown. */
  const open = async (path: string) => {
    for (const place of [path, path.split('/').slice(-1)[0]]) {
      const isThere = await serviceManager.contents.get(place, { content: false }).then(
        () => true,
        () => false,
      );
      if (isThere) return commands.execute('docmanager:open', { path: place }).then(() => true);
    }
    return false;
  };
  let shown: MainAreaWidget<ApiPages> | undefined;
  commands.addCommand('tunebook:api', {
    label: trans.__('tunebook API'),
    caption: trans.__('All classes, functions and options of tunebook'),
    describedBy: { args: { type: 'object', properties: {} } },
    execute: () => {
      if (!shown || shown.isDisposed) {
        shown = new MainAreaWidget({ content: new ApiPages(registry, open, trans) });
        shown.id = 'tunebook-api';
        shown.title.label = trans.__('tunebook API');
        shown.title.icon = icon;
        shown.title.closable = true;
        shown.toolbar.hide(); // it has none
      }
      if (!shown.isAttached) shell.add(shown, 'main');
      shell.activateById(shown.id);
    },
  });
  palette?.addItem({ command: 'tunebook:api', category: trans.__('Fine-tuning') });
}
