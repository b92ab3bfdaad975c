import type { ServiceManager } from '@jupyterlab/services';
import { ADAPTER_MIME, type AdapterData, parseAdapter } from '@tunebook/views';

/** The kernel that knows where models are. */
const KERNEL = 'tunebook';

/**
 * What a kernel makes of a saved adapter, which finds the base model by its name (or the one that is given), as a page cannot: it sees the
 * server's files alone. The kernel is ended then. Rejects with the words of what went wrong.
 */
export async function withBase({ sessions }: ServiceManager.IManager, path: string, base: string | undefined): Promise<AdapterData> {
  const name = path.split('/').slice(-2).join('/');
  const session = await sessions.startNew({ path, name, type: 'file', kernel: { name: KERNEL } });
  try {
    const { kernel } = session;
    if (!kernel) throw new Error('no kernel was started');
    const options = base ? `, { base_model: ${JSON.stringify(base)} }` : '';
    const future = kernel.requestExecute({
      code: `import { inspect } from 'tunebook';\nawait inspect('.'${options})`,
      store_history: false,
    });
    let made: unknown;
    let fault = 'the kernel showed nothing';
    future.onIOPub = ({ header, content }) => {
      const { data, evalue } = content as { data?: Record<string, unknown>; evalue?: string };
      if (header.msg_type === 'error') fault = String(evalue);
      else made = data?.[ADAPTER_MIME] ?? made;
    };
    await future.done;
    const adapter = made === undefined ? fault : parseAdapter(made);
    if (typeof adapter === 'string') throw new Error(adapter);
    return adapter;
  } finally {
    await session.shutdown();
    session.dispose();
  }
}
