import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

/** The connection file that the Jupyter server writes. */
export interface Connection {
  ip: string;
  transport: string;
  shell_port: number;
  iopub_port: number;
  stdin_port: number;
  control_port: number;
  hb_port: number;
  key: string;
  signature_scheme: string;
}

export interface Header {
  msg_id: string;
  session: string;
  username: string;
  date: string;
  msg_type: string;
  version: string;
  /** JEP 91: the subshell that a shell message is for. */
  subshell_id?: string | null;
}

export type NoParent = Record<string, never>;

export interface Message {
  identities: Buffer[];
  header: Header;
  parent: Header | NoParent;
  metadata: Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: what a front end sends is checked where it is used
  content: any;
  buffers: Buffer[];
}

export interface Outgoing {
  type: string;
  content: object;
  parent: Header | NoParent;
  identities?: (Buffer | string)[];
  id?: string;
  metadata?: object;
  buffers?: Uint8Array[];
}

export const PROTOCOL = '5.5';
const DELIMITER = Buffer.from('<IDS|MSG>');
/** Signatures that were seen, so that nobody sends a message a second time. */
const REMEMBERED = 65_536;

/**
 * JSON in which half a character (a lone surrogate, which no file can hold) is U+FFFD, in values and names. The halves, and nothing
 * else, are what JSON.stringify writes as \ud800 to \udfff.
 */
export const wellFormedJson = (value: object): string =>
  JSON.stringify(value).replace(/\\(ud[89a-f][\da-f]{2}|.)/g, (all, escaped: string) => (escaped.length > 1 ? '\ufffd' : all));

/** Messages of Jupyter's wire protocol, signed (https://jupyter-client.readthedocs.io/en/stable/messaging.html). */
export class Wire {
  private readonly session = randomUUID();
  private readonly seen = new Set<string>();

  constructor(private readonly key: string) {}

  private sign(frames: (Buffer | string)[]): string {
    if (!this.key) return '';
    const hmac = createHmac('sha256', this.key);
    for (const frame of frames) hmac.update(frame);
    return hmac.digest('hex');
  }

  /** A message out of its frames; undefined when it is malformed, its signature is wrong, or it was here before. */
  parse(frames: Buffer[]): Message | undefined {
    const at = frames.findIndex((frame) => frame.equals(DELIMITER));
    if (at < 0 || frames.length < at + 6) return undefined;
    const [signature, ...parts] = frames.slice(at + 1, at + 6);
    const expected = Buffer.from(this.sign(parts));
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) return undefined;
    if (this.key && this.isRepeated(signature.toString())) return undefined;
    try {
      const [header, parent, metadata, content] = parts.map((part) => JSON.parse(part.toString()));
      const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
      if (![header, parent, metadata, content].every(isObject) || typeof header.msg_type !== 'string') return undefined;
      return { identities: frames.slice(0, at), header, parent, metadata, content, buffers: frames.slice(at + 6) };
    } catch {
      return undefined;
    }
  }

  private isRepeated(signature: string): boolean {
    if (this.seen.has(signature)) return true;
    this.seen.add(signature);
    if (this.seen.size > REMEMBERED) this.seen.delete(this.seen.values().next().value as string);
    return false;
  }

  frames({
    type,
    content,
    parent,
    identities = [],
    id = randomUUID(),
    metadata = {},
    buffers = [],
  }: Outgoing): (Buffer | string | Uint8Array)[] {
    const header: Header = {
      msg_id: id,
      session: this.session,
      username: 'kernel',
      date: new Date().toISOString(),
      msg_type: type,
      version: PROTOCOL,
    };
    const parts = [header, parent, metadata, content].map(wellFormedJson);
    return [...identities, DELIMITER, this.sign(parts), ...parts, ...buffers];
  }
}
