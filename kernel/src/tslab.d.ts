declare module '@tslab/typescript-for-tslab' {
  export interface QuickInfo {
    displayParts?: { text: string }[];
    documentation?: { text: string }[];
  }
  export type CompletionInfo = object;
  export type DiagnosticCategory = number;
  export type FileWatcherCallback = () => void;
}
