export const DATASETS: Record<string, { about: string }>;
export function fetchDataset(name: string, report?: (text: string) => void): Promise<string>;
