import type { Project } from './project';

/** An option of a function or a class, or one of its methods. */
export interface Member {
  name: string;
  isMethod: boolean;
  /** As TypeScript writes it, in one line. */
  type: string;
  /** Its docstring. */
  text: string;
  /** What the docstring says behind "Default:". */
  fallback?: string;
}

/** Where a name stands: what the protocol asks with. */
export type At = { textDocument: { uri: string }; position: { line: number; character: number } };
/** Puts code where it sees the names of the cells, and says where `offset` is in it. */
type Place = (code: string, offset: number) => Promise<At>;

const METHOD = 2;
/** So many parameters are looked at, and members listed. */
const [PARAMETERS, MOST] = [4, 120];
const FENCE = /^```\w*\n([\s\S]*?)\n```\s*/;

/** Types as a reader wants to see them: what is an option, and not how that is written. */
const short = (code: string): string =>
  code
    .replace(/\(alias\) /g, '')
    .replace(/Partial<(\w+(?:<[^<>]*>)?)> & Record<string, unknown>/g, '$1')
    .replace(/ \| \(string & \{\}\)/g, ' | string')
    .replace(/\(string & \{\}\)/g, 'string');

/** A hover's answer in its parts. */
function partsOf(markdown: string | undefined): { code: string; text: string } | undefined {
  const [all, code] = markdown?.match(FENCE) ?? [];
  return all === undefined ? undefined : { code: short(code), text: (markdown as string).slice(all.length).trim() };
}

/** The dotted name that ends at or goes on behind `offset`, with its end; undefined where no name stands there. */
export function nameAt(code: string, offset: number): { path: string; end: number } | undefined {
  const end = offset + (/^[\p{ID_Continue}$]*/u.exec(code.slice(offset))?.[0].length ?? 0);
  const path = /(?:[\p{ID_Start}$_][\p{ID_Continue}$]*\s*\.\s*)*[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.exec(code.slice(0, end))?.[0];
  return path ? { path, end } : undefined;
}

/** Where the name of what is called around `offset` ends; undefined outside of calls. */
export function callAround(code: string, offset: number): number | undefined {
  // Strings and comments are blanked, so that their brackets do not count.
  const blank = (text: string) => ' '.repeat(text.length);
  const before = code.slice(0, offset).replace(/\/\/[^\n]*|\/\*[\s\S]*?\*\/|(['"`])(?:\\.|(?!\1)[\s\S])*(?:\1|$)/g, blank);
  let depth = 0;
  for (let i = before.length - 1; i >= 0; i--) {
    if (')]}'.includes(before[i])) depth++;
    else if ('([{'.includes(before[i]) && depth-- === 0) {
      depth = 0;
      const callee = /[\p{ID_Continue}$](?=\s*(?:<[^()]*>)?\s*$)/u.exec(before.slice(0, i));
      if (before[i] === '(' && callee) return callee.index + 1;
    }
  }
  return undefined;
}

/** The option that a string at `offset` is the value of: where its name begins. */
const optionOf = (code: string, offset: number): number | undefined =>
  /([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*:\s*\[?(?:\s*(['"`])[^'"`\n]*\2\s*,)*\s*['"`][^'"`\n]*$/u.exec(code.slice(0, offset))?.index;

/** What is known of names: what they are, their docstrings, their options and methods. */
export class Help {
  constructor(
    private readonly project: Project,
    private readonly place: Place,
  ) {}

  /** What is known of what stands at `offset`, as Markdown: of a name, of the option whose value it is, of the function that is called there. */
  async about(code: string, offset: number): Promise<string | undefined> {
    const named = nameAt(code, offset);
    const places = [named && { ...named, from: named.end - (/[\p{ID_Continue}$]+$/u.exec(named.path)?.[0].length ?? 0) }];
    for (const end of [optionOf(code, offset), callAround(code, offset)]) {
      const other = end === undefined ? undefined : nameAt(code, end);
      places.push(other && { ...other, from: other.end - 1 });
    }
    for (const place of places) {
      const found = place && (await this.describe(code, place.from, place.path, place.end));
      if (found) return found;
    }
    return undefined;
  }

  private async describe(code: string, offset: number, path: string, end: number): Promise<string | undefined> {
    const found = await this.hover(await this.place(code, offset));
    if (!found || found.code === 'any') return undefined; // of what is not declared
    const isNew = found.code.startsWith('constructor ');
    // Of what is made a reader wants to know, and not how.
    const made = isNew ? (await this.hover(await this.place(`${path};`, path.length)))?.text : undefined;
    const text = made || found.text || (await this.documented(await this.place(code, offset)));
    const parts = [`\`\`\`typescript\n${found.code}\n\`\`\``, text];
    if (/^(constructor|class|function|\(method\)|const \w+: \(|let \w+: \()/.test(found.code)) {
      const isClass = /^(constructor|class)/.test(found.code);
      // Of the code only what declares the name matters: what is being written may be open.
      const options = (await this.options(path, isClass)) ?? (await this.options(path, isClass, code.slice(0, end - path.length))) ?? [];
      if (options.length) parts.push('**Options**', listOf(options));
      if (isClass) parts.push(...methodsOf(await this.methods(`InstanceType<typeof ${path}>`)));
    } else if (/^(const|let|var) /.test(found.code)) parts.push(...methodsOf(await this.methods(`typeof ${path}`)));
    return parts.filter(Boolean).join('\n\n');
  }

  /** The options of a function or of a class: members of its parameters that are plain objects. Undefined where there are none. */
  async options(path: string, isClass: boolean, code = ''): Promise<Member[] | undefined> {
    const parameters = isClass ? `ConstructorParameters<typeof ${path}>` : `Parameters<typeof ${path}>`;
    for (let i = PARAMETERS - 1; i >= 0; i--) {
      const members = await this.members(`${parameters}[${i}]`, code);
      if (members.length && !members.some((member) => member.isMethod)) return members;
    }
    return undefined;
  }

  /** The methods of a type. */
  async methods(type: string): Promise<Member[]> {
    return (await this.members(type, '', true)).filter(({ isMethod }) => isMethod);
  }

  /** The members of a type; of one that has methods, these. `methods`: nothing else is wanted. */
  private async members(type: string, code = '', methods = false): Promise<Member[]> {
    const plain = `Exclude<NonNullable<${type}>, string | number | boolean | bigint | symbol | readonly unknown[] | ((...given: any[]) => unknown)>`;
    const head = `${code}\n;declare const probed: ${plain};\n`;
    const at = await this.place(`${head}probed.x;`, head.length + 'probed.'.length);
    const result = await this.project.client.request('textDocument/completion', at);
    // biome-ignore lint/suspicious/noExplicitAny: a CompletionItem of the protocol
    const items: any[] = (result?.items ?? result ?? []).filter((item: any) => /^[a-zA-Z]\w*\??$/.test(item.label));
    const isClass = methods || items.some(({ kind }) => kind === METHOD);
    const found = items
      // Of what has methods these are told.
      .filter(({ kind }) => !isClass || kind === METHOD)
      .slice(0, MOST)
      .map(({ label, kind }) => ({ name: label.replace('?', ''), isMethod: kind === METHOD }));
    if (!found.length) return [];
    const lines = found.map(({ name }) => `probed.${name};`);
    const start = await this.place(`${head}${lines.join('\n')}`, head.length + 'probed.'.length);
    const { textDocument, position } = start;
    const members = found.map(async (member, i): Promise<Member | undefined> => {
      const there = { textDocument, position: { ...position, line: position.line + i } };
      const text = await this.documented(there);
      if (member.isMethod) return { ...member, type: '', text };
      const hover = await this.hover(there);
      if (!hover) return undefined;
      const fallback = /(?:^|\s)Default: (.+)\.$/.exec(text)?.[1];
      const type = hover.code.replace(/^[^\n]*?\bprobed\.|^\(\w+\) [^:(]*/, '').replace(/^[?:]+\s*|\s+/g, ' ');
      return { ...member, type: type.trim(), text: text || hover.text, fallback };
    });
    return (await Promise.all(members)).filter((member) => member !== undefined);
  }

  private async hover(at: At) {
    const result = await this.project.client.request('textDocument/hover', at);
    const { contents } = result ?? {};
    return partsOf(typeof contents === 'string' ? contents : contents?.value);
  }

  /** The docstring of where a name is declared: what is mapped from there has none of its own. Else that of its type. */
  private async documented(at: At): Promise<string> {
    for (const kind of ['definition', 'typeDefinition']) {
      const [found] = [(await this.project.client.request(`textDocument/${kind}`, at)) ?? []].flat();
      if (!found || (kind === 'typeDefinition' && isLanguages(found.uri))) continue;
      const text = docstring(this.project.textOf(found.uri), found.range.start);
      if (text) return text;
    }
    return '';
  }
}

/** Whether a file is one of TypeScript's or Node's own: what is said of all strings is said of none. */
const isLanguages = (uri: string): boolean => /\/(@typescript|typescript|@types)\//.test(uri);

const MODIFIERS =
  /^\s*(?:(?:export|declare|default|abstract|class|interface|function|async|static|readonly|get|set|const|let|var|type|enum|public|override)\s+)*$/;

/** The docstring before what is declared at a place: quicker than to ask about each. */
function docstring(text: string, { line, character }: At['position']): string {
  let offset = 0;
  for (let i = 0; i < line && offset >= 0; i++) offset = text.indexOf('\n', offset) + 1;
  const before = text.slice(0, offset + character);
  const end = before.lastIndexOf('*/');
  const start = before.lastIndexOf('/**', end);
  if (end < 0 || start < 0 || !MODIFIERS.test(before.slice(end + 2))) return '';
  return before
    .slice(start + 3, end)
    .replace(/^[ \t]*\*? ?/gm, '')
    .trim();
}

const firstLine = (text: string): string => text.replace(/\s+/g, ' ');

const listOf = (members: readonly Member[]): string =>
  members
    .map(({ name, type, text, fallback }) => {
      const said = firstLine(text).replace(/\s*Default: .+\.$/, '');
      return `- \`${name}\`: ${code(type)}${fallback === undefined ? '' : ` = ${code(fallback)}`}${said ? ` · ${said}` : ''}`;
    })
    .join('\n');

const code = (text: string): string => `\`${text}\``;

function methodsOf(members: readonly Member[]): string[] {
  const methods = members.filter(({ text }) => text);
  const lines = methods.map(({ name, text }) => `- \`${name}\` · ${firstLine(text).replace(/(?<=[.!?]) .*/, '')}`);
  return lines.length ? ['**Methods**', lines.join('\n')] : [];
}

/** Markdown as a terminal shows it. */
export const plainOf = (markdown: string): string =>
  markdown
    .replace(/```\w*\n([\s\S]*?)\n```/g, '$1')
    .replace(/\*\*(.+?)\*\*/g, '$1')
    .replace(/`([^`\n]*)`/g, '$1')
    .trim();
