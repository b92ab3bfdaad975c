export class SetupError extends Error {}
export function addonFolder(): string;
export function libraryFolder(): string;
export function cacheFolder(): string;
export function instructionSet(): string;
export function isReady(): boolean;
export function tfjsNodeFolder(): string;
export function findPython(): string;
export function findCompiler(): string;
export function downloadWheel(python: string, name: string, version: string, options?: object): Promise<string>;
export function unpackWheel(python: string, wheel: string, parts: string[], target: string): Promise<void>;
export function ensureNative(report?: (text: string) => void): Promise<string>;
export const root: string;
