/** For the other pages' answers, in milliseconds. */
const PATIENCE = 200;

type Said = { ask: true } | { here: string };

/** The pages of this browser, by the names under which they talk to kernels: cells of a page that is still there are its own. */
export class Pages {
  private readonly channel = typeof BroadcastChannel === 'undefined' ? undefined : new BroadcastChannel('tunebook.pages');
  private readonly others = new Set<string>();
  /** This page's own name, told to whoever asks. */
  name = '';

  constructor() {
    if (!this.channel) return;
    this.channel.onmessage = ({ data }: MessageEvent<Said>) => {
      if ('here' in data) this.others.add(data.here);
      else if (this.name) this.say({ here: this.name });
    };
  }

  /** Who else is there now. */
  async ask(): Promise<string[]> {
    this.others.clear();
    this.say({ ask: true });
    if (this.channel) await new Promise((resolve) => setTimeout(resolve, PATIENCE));
    return [...this.others];
  }

  close(): void {
    this.channel?.close();
  }

  private say(said: Said): void {
    this.channel?.postMessage(said);
  }
}
