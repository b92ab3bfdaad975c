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
}

export interface Message {
  identities: Buffer[];
  header: Header;
  parent: Header | Record<string, never>;
  // biome-ignore lint/suspicious/noExplicitAny: what a front end sends is checked where it is used
  content: any;
}

const DELIMITER = '<IDS|MSG>';

/** Messages of Jupyter's wire protocol 5.4, signed (https://jupyter-client.readthedocs.io/en/stable/messaging.html). */
export class Wire {
  private readonly session = randomUUID();

  constructor(private readonly key: string) {}

  private sign(frames: (Buffer | string)[]): string {
    if (!this.key) return '';
    const hmac = createHmac('sha256', this.key);
    for (const frame of frames) hmac.update(frame);
    return hmac.digest('hex');
  }

  /** A message out of its frames; undefined when it is malformed or its signature is wrong. */
  parse(frames: Buffer[]): Message | undefined {
    const at = frames.findIndex((frame) => frame.toString() === DELIMITER);
    if (at < 0 || frames.length < at + 6) return undefined;
    const [signature, ...parts] = frames.slice(at + 1, at + 6);
    const expected = Buffer.from(this.sign(parts));
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) return undefined;
    try {
      const [header, parent, , content] = parts.map((part) => JSON.parse(part.toString()));
      if (typeof header?.msg_type !== 'string') return undefined;
      return { identities: frames.slice(0, at), header, parent, content };
    } catch {
      return undefined;
    }
  }

  frames(type: string, content: object, parent: Header | Record<string, never>, identities: (Buffer | string)[]): (Buffer | string)[] {
    const header: Header = {
      msg_id: randomUUID(),
      session: this.session,
      username: 'kernel',
      date: new Date().toISOString(),
      msg_type: type,
      version: '5.4',
    };
    const parts = [header, parent, {}, content].map((part) => JSON.stringify(part));
    return [...identities, DELIMITER, this.sign(parts), ...parts];
  }
}
