import { f32, type GgufEntry, type GgufWritable, text, u32 } from '../formats/gguf_write';
import { type RopeParameters, rotation } from '../nn';

const bytesOf = (values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const vector = (name: string, values: number[]): GgufWritable => ({
  name,
  shape: [values.length],
  type: 'F32',
  data: () => bytesOf(values),
});

/** Rotary settings as llama.cpp's files have them: metadata, and factors of frequencies as tensors. What does not fit is left out. */
export function ropeToGguf(
  parameters: RopeParameters,
  dim: number,
  theta: number,
  positions: number,
): { metadata: [string, GgufEntry][]; tensors: GgufWritable[] } {
  const { rope_type: kind = 'default', factor, original_max_position_embeddings: original } = parameters;
  const metadata: [string, GgufEntry][] = [];
  const tensors: GgufWritable[] = [];
  const turns = (of: RopeParameters) => rotation({ dim, theta, max_position_embeddings: positions, parameters: of }, 1);
  const scaled = (type: string) => {
    metadata.push(['rope.scaling.type', text(type)]);
    if (factor) metadata.push(['rope.scaling.factor', f32(factor)]);
    if (original) metadata.push(['rope.scaling.original_context_length', u32(original)]);
  };
  if (kind === 'linear') scaled(kind);
  if (kind === 'llama3') {
    const plain = turns({}).frequencies;
    const now = turns(parameters).frequencies;
    tensors.push(
      vector(
        'rope_freqs.weight',
        plain.map((f, i) => f / now[i]),
      ),
    );
  }
  if (kind === 'yarn') {
    scaled(kind);
    // What cosines are multiplied by beside YaRN's own factor, which llama.cpp makes itself.
    const own = factor && factor > 1 ? 0.1 * Math.log(factor) + 1 : 1;
    const beside = turns(parameters).factor / own;
    if (Math.abs(beside - 1) > 1e-6) metadata.push(['rope.scaling.attn_factor', f32(beside)]);
    for (const name of ['beta_fast', 'beta_slow'] as const)
      if (parameters[name]) metadata.push([`rope.scaling.yarn_${name}`, f32(parameters[name] as number)]);
  }
  if (kind === 'longrope') {
    scaled(kind);
    metadata.push(['rope.scaling.attn_factor', f32(turns(parameters).factor)]);
    tensors.push(
      vector('rope_factors_short.weight', parameters.short_factor ?? []),
      vector('rope_factors_long.weight', parameters.long_factor ?? []),
    );
  }
  return { metadata, tensors };
}
