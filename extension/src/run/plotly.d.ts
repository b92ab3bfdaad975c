declare module 'plotly.js-basic-dist-min' {
  const Plotly: {
    react(node: HTMLElement, traces: object[], layout: object, config: object): Promise<void>;
    toImage(node: HTMLElement, options: { format: 'png'; width: number; height: number; scale?: number }): Promise<string>;
    purge(node: HTMLElement): void;
  };
  export default Plotly;
}
