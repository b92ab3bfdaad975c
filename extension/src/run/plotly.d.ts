declare module 'plotly.js-basic-dist-min' {
  export type PlotElement = HTMLElement & {
    data: object[];
    layout: { height?: number; xaxis?: { range?: [number, number] } };
    on(event: 'plotly_relayout', listener: () => void): void;
  };
  const Plotly: {
    react(node: HTMLElement, traces: object[], layout: object, config: object): Promise<void>;
    toImage(node: HTMLElement, options: { format: 'png'; width: number; height: number; scale?: number }): Promise<string>;
    purge(node: HTMLElement): void;
  };
  export default Plotly;
}
