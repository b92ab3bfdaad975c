import { ABCWidgetFactory, Base64ModelFactory, type DocumentRegistry, DocumentWidget } from '@jupyterlab/docregistry';
import type { Contents, ServiceManager } from '@jupyterlab/services';
import { Panel, Widget } from '@lumino/widgets';
import { type AdapterData, inspectFile } from '@tunebook/views';
import type { Context } from '../context';
import { button, element, freshId } from '../dom';
import { icon } from '../start/icon';
import { withBase } from './base';
import { AdapterView } from './view';

/** Larger files take too much of a page's memory; a notebook inspects them. */
const LARGEST = 400e6;

const pause = () => new Promise<void>((resolve) => setTimeout(resolve));

/** A saved adapter, opened from the file browser: read and computed in the page, whatever kernel there is or is not; its base model by one. */
class AdapterFile extends Panel {
  private view: AdapterView | undefined;

  constructor(
    private readonly services: ServiceManager.IManager,
    private readonly file: DocumentRegistry.Context,
    private readonly context: Context,
  ) {
    super();
    this.addClass('tunebook-run');
    this.addClass('tunebook-document');
    this.title.label = file.path.split('/').slice(-2).join('/');
    void this.load().catch((error: Error) => this.say(context.trans.__('This adapter cannot be shown: %1', error.message)));
  }

  private say(text: string): void {
    this.node.replaceChildren(element('p', { role: 'status', textContent: text }));
  }

  private async load(): Promise<void> {
    const { trans } = this.context;
    const { path } = this.file;
    this.say(trans.__('Reading %1 …', path));
    const { size } = await this.services.contents.get(path, { content: false });
    if (size && size > LARGEST) {
      this.say(
        trans.__('This file has %1 MB, which is too much for a page. In a notebook: await inspect("…") reads it.', Math.round(size / 1e6)),
      );
      return;
    }
    const fetched = async (file: string) => {
      const response = await fetch(await this.services.contents.getDownloadUrl(file));
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      return response;
    };
    const bytes = await (await fetched(path)).arrayBuffer();
    const folder = path.split('/').slice(0, -1).join('/');
    const config: Record<string, unknown> | undefined = await fetched(`${folder ? `${folder}/` : ''}adapter_config.json`).then(
      (response) => response.json(),
      () => undefined,
    );
    const found = await inspectFile(bytes, config, pause);
    if (typeof found === 'string') {
      this.say(found);
      return;
    }
    const text = (value: unknown, otherwise: string) => (typeof value === 'string' ? value.slice(0, 500) : otherwise);
    const data: AdapterData = {
      name: path,
      method: text(config?.peft_type, 'LORA'),
      base: text(config?.base_model_name_or_path, ''),
      createdAt: new Date().toISOString(),
      total: null,
      history: [],
      overlap: null,
      merge: null,
      ...found,
    };
    if (this.isDisposed) return;
    this.node.replaceChildren();
    const { node, ask } = this.asking(data.base);
    this.addWidget(new Widget({ node }));
    this.display(data);
    if (data.base) await ask();
  }

  /** In place of what was displayed before, at the same page. */
  private display(data: AdapterData): void {
    const open = this.tabs.findIndex((tab) => tab.getAttribute('aria-selected') === 'true');
    this.view?.dispose();
    this.view = new AdapterView(data, this.context);
    this.addWidget(this.view);
    if (open > 0) this.tabs[open].click();
  }

  private get tabs(): HTMLElement[] {
    return [...(this.view?.node.querySelectorAll<HTMLElement>('[role="tab"]') ?? [])];
  }

  /** A page cannot read the base model, which lies wherever models are kept: a kernel can, by the name that the adapter or its reader gives. */
  private asking(named: string): { node: HTMLElement; ask(): Promise<void> } {
    const { trans } = this.context;
    const id = freshId();
    const field = element('input', { type: 'text', id, size: 40, value: named, spellcheck: false });
    const said = element('span', { role: 'status', className: 'tunebook-said' });
    const ask = async () => {
      act.disabled = true;
      said.textContent = trans.__('A kernel reads the base model …');
      const base = field.value.trim();
      const { path } = this.file;
      await withBase(this.services, path, base === named ? undefined : base).then(
        (data) => {
          if (this.isDisposed) return;
          this.display({ ...data, name: path });
          said.textContent = data.total === null ? trans.__('It is not on this machine: give its name, folder or .gguf file.') : '';
        },
        (error: Error) => {
          said.textContent = trans.__('The base model cannot be read: %1', error.message);
        },
      );
      act.disabled = false;
    };
    const act = button(trans.__('Compare with the base model'), trans.__('How large each update is beside its weights'), ask);
    field.onkeydown = ({ key }) => void (key === 'Enter' && ask());
    const label = element('label', { for: id, textContent: trans.__('Base model') });
    return { node: element('div', { className: 'tunebook-controls' }, label, field, act, said), ask };
  }
}

/** A document whose content JupyterLab does not fetch: an adapter would pass through base64 as a whole. */
export class FileModelFactory extends Base64ModelFactory {
  override get name(): string {
    return 'tunebook-file';
  }
  override get fileFormat(): Contents.FileFormat {
    return null;
  }
}

/** Opens adapter_model.safetensors with the inspector. */
export class AdapterFactory extends ABCWidgetFactory<DocumentWidget> {
  constructor(
    private readonly services: ServiceManager.IManager,
    private readonly context: Context,
    options: DocumentRegistry.IWidgetFactoryOptions,
  ) {
    super(options);
  }

  protected createNewWidget(file: DocumentRegistry.Context): DocumentWidget {
    const document = new DocumentWidget({ content: new AdapterFile(this.services, file, this.context), context: file });
    document.title.icon = icon;
    document.toolbar.hide(); // it has none
    return document;
  }
}
