/** How a run is drawn, where a reader has changed it. */
export interface Drawn {
  smoothing?: number;
  logScale?: boolean;
}

const keyOf = (id: string) => `tunebook:run:${id}`;

/** What was changed in this tab: a reload keeps it. */
export function remembered(id: string): Drawn {
  try {
    const { smoothing, logScale } = JSON.parse(sessionStorage.getItem(keyOf(id)) ?? '{}') as Drawn;
    return {
      ...(typeof smoothing === 'number' && smoothing >= 0 && smoothing < 1 && { smoothing }),
      ...(typeof logScale === 'boolean' && { logScale }),
    };
  } catch {
    return {}; // a browser may refuse its storage
  }
}

export function remember(id: string, drawn: Drawn): void {
  try {
    sessionStorage.setItem(keyOf(id), JSON.stringify(drawn));
  } catch {
    // full or refused: then it lasts as long as the view
  }
}
