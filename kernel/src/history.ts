type Entry = [session: number, line: number, source: string];

/** The cells of this session, for front ends that ask for earlier ones. */
export class History {
  private readonly entries: Entry[] = [];

  add(line: number, source: string): void {
    this.entries.push([1, line, source]);
  }

  /** Entries as history_request asks for: the last ones, a range, or those that match a pattern with * and ?. */
  find(request: {
    hist_access_type?: string;
    output?: boolean;
    n?: number;
    start?: number;
    stop?: number;
    pattern?: string;
    unique?: boolean;
  }): (Entry | [number, number, [string, null]])[] {
    const { hist_access_type: type = 'tail', output = false, n = 10, start = 1, stop, pattern = '*', unique = false } = request;
    let found = this.entries;
    if (type === 'range') found = found.filter(([, line]) => line >= start && line < (stop ?? Number.POSITIVE_INFINITY));
    if (type === 'search') {
      const escaped = pattern
        .replace(/[.+^${}()|[\]\\]/g, '\\$&')
        .replaceAll('*', '[\\s\\S]*')
        .replaceAll('?', '[\\s\\S]');
      const matches = new RegExp(`^${escaped}$`);
      found = found.filter(([, , source]) => matches.test(source));
      if (unique) found = found.filter(([, , source], i) => found.findLastIndex((other) => other[2] === source) === i);
    }
    if (type !== 'range') found = found.slice(-n);
    return output ? found.map(([session, line, source]) => [session, line, [source, null]]) : found;
  }
}
