/** What of eslint-scope the kernel uses; the package has no types of its own. */
declare module 'eslint-scope' {
  export interface Reference {
    identifier: { name: string; start: number };
  }
  export interface Variable {
    name: string;
    references: Reference[];
    defs: { type: string; name: { name: string; start: number } }[];
  }
  export interface Scope {
    variables: Variable[];
    through: Reference[];
    childScopes: Scope[];
  }
  export function analyze(
    tree: unknown,
    options: { ecmaVersion: number; sourceType: 'module' | 'script'; ignoreEval?: boolean },
  ): { globalScope: Scope };
}
