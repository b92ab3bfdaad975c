import type { Project } from './project';
import { declaredBy, type Node, nameOf } from './syntax';

/** What a cell adds to the global scope or to another module, one statement of it. */
export interface Augmentation {
  /** `global`, or `module "name"`. */
  target: string;
  names: string[];
  /** Of an interface, which others may add to as well. */
  members?: string[];
  text: string;
}

const isAugmentation = ({ type, kind, id }: Node) => type === 'TSModuleDeclaration' && (kind === 'global' || id.type === 'Literal');

/** What a cell adds elsewhere, and its code without that. */
export function augmentationsOf(code: string, program: Node): { augmentations: Augmentation[]; plain: string } {
  const augmentations: Augmentation[] = [];
  let plain = code;
  for (const block of (program.body as Node[]).filter(isAugmentation)) {
    const target = block.kind === 'global' ? 'global' : `module ${JSON.stringify(block.id.value)}`;
    const blank = code.slice(block.start, block.end).replace(/[^\n]/g, ' ');
    plain = plain.slice(0, block.start) + blank + plain.slice(block.end);
    for (const statement of (block.body?.body ?? []) as Node[]) {
      const node: Node = statement.declaration ?? statement;
      const members = node.type === 'TSInterfaceDeclaration' ? node.body.body.map(memberName) : undefined;
      const names = declaredBy(node).map(nameOf);
      augmentations.push({ target, names, members, text: code.slice(statement.start, statement.end) });
    }
  }
  return { augmentations, plain };
}

const memberName = ({ key, type }: Node): string => (key ? nameOf(key) : type);

/** Whether both say what one thing is. */
const conflict = (a: Augmentation, b: Augmentation): boolean =>
  a.target === b.target &&
  a.names.some((name) => b.names.includes(name)) &&
  !(a.members && b.members && !a.members.some((member) => b.members?.includes(member)));

/** What the cells so far add elsewhere, each in a file of its own: where a cell says it anew, it is no more what an earlier one said. */
export class Augmentations {
  private readonly cells = new Map<number, { head: string; parts: Augmentation[] }>();

  constructor(private readonly project: Project) {}

  /** `head`: code that takes the names which the parts use. */
  add(number: number, head: string, parts: Augmentation[]): void {
    for (const cell of this.cells.values()) cell.parts = without(cell.parts, parts);
    this.cells.set(number, { head, parts });
    this.show();
  }

  /** Shows the checker all but what a cell that is to be checked says itself. */
  show(anew: Augmentation[] = []): void {
    for (const [number, { head, parts }] of this.cells) {
      const shown = without(parts, anew).map(({ target, text }) => `declare ${target} { ${text}\n}`);
      this.project.put(fileOf(number), `${head}\n${shown.join('\n')}\nexport {};`);
    }
  }

  /** The cells whose names are still needed. */
  get numbers(): number[] {
    return [...this.cells].filter(([, { parts }]) => parts.length).map(([number]) => number);
  }

  reset(): void {
    for (const number of this.cells.keys()) this.project.drop(fileOf(number));
    this.cells.clear();
  }
}

const fileOf = (number: number) => `augment-${number}.ts`;
const without = (parts: Augmentation[], others: Augmentation[]) => parts.filter((part) => !others.some((other) => conflict(part, other)));
