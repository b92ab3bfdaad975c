/** The one import of tfjs: the union package, since a backend on tfjs-core alone has no gradients registered. */
export * from '@tensorflow/tfjs';
export type { NamedAttrMap } from '@tensorflow/tfjs-core';
