import { setTimeout as wait } from 'node:timers/promises';
import * as zmq from 'zeromq';
import { type Connection, type Header, type Message, type NoParent, type Outgoing, Wire } from './protocol';

/** A reply may go to the shell's or the control channel's asker. */
export type Channel = 'shell' | 'control';

/** What a reader is asked; `id` is the message's own, which answers may name. */
export interface Asked {
  id: string;
  prompt: string;
  password: boolean;
}

export interface Handlers {
  shell(message: Message): void;
  control(message: Message): void;
  stdin(message: Message): void;
}

/** Milliseconds that output waits for a first listener. */
const LONGEST = 1000;

/** The five channels of a kernel. Sends wait their turn: a zeromq socket takes one at a time. */
export class Sockets {
  private readonly wire: Wire;
  private readonly routers = { shell: new zmq.Router(), control: new zmq.Router(), stdin: new zmq.Router() };
  private readonly iopub = new zmq.XPublisher({ sendHighWaterMark: 0 });
  private readonly heartbeat = new zmq.Reply();
  private readonly turns = new Map<object, Promise<void>>();

  constructor(
    private readonly connection: Connection,
    /** Hears of all that is published, in the order in which listeners do. */
    private readonly published: (type: string, content: Record<string, unknown>, parent: Header | NoParent) => void = () => {},
    /** Hears of all that readers are asked, in the cells of these requests. */
    private readonly asked: (request: Header, question: Asked) => void = () => {},
  ) {
    this.wire = new Wire(connection.key);
  }

  async open(handlers: Handlers): Promise<void> {
    const { connection: c, routers, iopub, heartbeat } = this;
    const address = (port: number) => `${c.transport}://${c.ip}:${port}`;
    await Promise.all([
      routers.shell.bind(address(c.shell_port)),
      routers.control.bind(address(c.control_port)),
      routers.stdin.bind(address(c.stdin_port)),
      iopub.bind(address(c.iopub_port)),
      heartbeat.bind(address(c.hb_port)),
    ]);
    for (const name of ['shell', 'control', 'stdin'] as const) void this.listen(routers[name], handlers[name]);
    void (async () => {
      for await (const frames of heartbeat) await heartbeat.send(frames);
    })();
    void this.greet();
  }

  /** Whoever begins to listen is told so, before anything else. Until somebody does, what is published waits a moment. */
  private async greet(): Promise<void> {
    const welcome: Outgoing = { type: 'iopub_welcome', content: { subscription: '' }, parent: {}, identities: ['iopub_welcome'] };
    let greeted = () => {};
    const first = new Promise<void>((resolve) => {
      greeted = resolve;
    });
    this.turns.set(this.iopub, Promise.race([first, wait(LONGEST)]));
    let isFirst = true;
    for await (const [frame] of this.iopub) {
      if (frame[0] !== 1) continue; // somebody leaves
      if (isFirst) await this.iopub.send(this.wire.frames(welcome)).catch(() => {});
      else void this.send(this.iopub, welcome);
      isFirst = false;
      greeted();
    }
  }

  private async listen(socket: zmq.Router, take: (message: Message) => void): Promise<void> {
    for await (const frames of socket) {
      const message = this.wire.parse(frames);
      if (message) take(message);
    }
  }

  private send(socket: zmq.Router | zmq.XPublisher, message: Outgoing): Promise<void> {
    const before = this.turns.get(socket) ?? Promise.resolve();
    const turn = before.then(() => socket.send(this.wire.frames(message))).catch(() => {}); // whoever asked may be gone
    this.turns.set(socket, turn);
    return turn;
  }

  publish(
    type: string,
    content: object,
    parent: Header | NoParent,
    more: { metadata?: object; buffers?: Uint8Array[] } = {},
  ): Promise<void> {
    this.published(type, content as Record<string, unknown>, parent);
    return this.send(this.iopub, { type, content, parent, identities: [type], ...more });
  }

  /** After all output that was published before. */
  async reply(channel: Channel, message: Message, content: object): Promise<void> {
    await this.turns.get(this.iopub);
    const type = message.header.msg_type.replace(/_request$/, '_reply');
    await this.send(this.routers[channel], { type, content, parent: message.header, identities: message.identities });
  }

  askInput({ header: parent, identities }: Message, { id, ...content }: Asked): Promise<void> {
    this.asked(parent, { id, ...content });
    return this.send(this.routers.stdin, { type: 'input_request', id, content, parent, identities });
  }

  async close(): Promise<void> {
    await Promise.all(this.turns.values());
    for (const socket of [...Object.values(this.routers), this.iopub, this.heartbeat]) socket.close();
  }
}
