import { ABCWidgetFactory, Base64ModelFactory, type DocumentRegistry, DocumentWidget } from '@jupyterlab/docregistry';
import type { Contents } from '@jupyterlab/services';
import { Panel } from '@lumino/widgets';
import { type AdapterData, inspectFile } from '@tunebook/views';
import type { Context } from '../context';
import { element } from '../dom';
import { AdapterView } from './view';

/** Larger files take too much of a page's memory; a notebook inspects them. */
const LARGEST = 400e6;

const pause = () => new Promise<void>((resolve) => setTimeout(resolve));

/** A saved adapter, opened from the file browser: read and computed in the page, whatever kernel there is or is not. */
class AdapterFile extends Panel {
  constructor(
    private readonly contents: Contents.IManager,
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
    const { size } = await this.contents.get(path, { content: false });
    if (size && size > LARGEST) {
      this.say(
        trans.__('This file has %1 MB, which is too much for a page. In a notebook: await inspect("…") reads it.', Math.round(size / 1e6)),
      );
      return;
    }
    const fetched = async (file: string) => {
      const response = await fetch(await this.contents.getDownloadUrl(file));
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
    this.addWidget(new AdapterView(data, this.context));
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
    private readonly contents: Contents.IManager,
    private readonly context: Context,
    options: DocumentRegistry.IWidgetFactoryOptions,
  ) {
    super(options);
  }

  protected createNewWidget(file: DocumentRegistry.Context): DocumentWidget {
    return new DocumentWidget({ content: new AdapterFile(this.contents, file, this.context), context: file });
  }
}
