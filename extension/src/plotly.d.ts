declare module 'plotly.js-basic-dist-min' {
  const Plotly: {
    react(node: HTMLElement, traces: object[], layout: object, config: object): Promise<void>;
    purge(node: HTMLElement): void;
  };
  export default Plotly;
}
