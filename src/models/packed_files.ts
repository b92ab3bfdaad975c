import type { Writable } from '../formats/safetensors';
import { type Matrix, type Module, Parameter } from '../nn';
import { BitsAndBytesConfig } from '../quantize';
import { fourBitOf, isPacked, packedTensors } from '../quantize/bitsandbytes';

type Named = [name: string, tensor: Matrix, turned?: boolean][];

/** The matrices that are saved as bitsandbytes saves them. */
const packedIn = (tensors: Named) => tensors.flatMap(([name, t]) => (!(t instanceof Parameter) && isPacked(t) ? [[name, t] as const] : []));

/** What bitsandbytes' files have of a model's packed matrices, one in memory at a time; the other tensors are left. */
export function packedWritables(tensors: Named, config: unknown): { packed: Writable[]; others: Named } {
  const { bnb_4bit_quant_storage: storage } = (config ?? {}) as { bnb_4bit_quant_storage?: string };
  let last: { name: string; made: ReturnType<typeof packedTensors> } | undefined;
  const partsOf = (name: string, make: () => ReturnType<typeof packedTensors>) => {
    if (last?.name !== name) last = { name, made: make() };
    return last.made;
  };
  const packed = packedIn(tensors).flatMap(([matrix, weight]) => {
    const make = () => packedTensors(matrix, weight, { storage });
    // Shapes and types first; the bytes are made again when their turn comes.
    return [...make()].map(([name, { shape, type }]) => ({
      ...{ name, shape, type },
      data: () => (partsOf(matrix, make).get(name) as { bytes: Uint8Array }).bytes,
    }));
  });
  return { packed, others: tensors.filter(([, t]) => t instanceof Parameter || !isPacked(t)) };
}

/** The quantization_config of a model whose matrices are packed so, as transformers reads it; undefined where none is. */
export function packedConfig(model: Module, tensors: Named, config: unknown): Record<string, unknown> | undefined {
  const packed = new Map(packedIn(tensors));
  const [first] = packed.values();
  if (!first) return undefined;
  const found = fourBitOf(first.format);
  // transformers packs what it is not told to skip, and takes a name for the end of others too: these are whole paths.
  const kept = [...model.namedModules()].flatMap(([path, module]) =>
    'inFeatures' in module && 'outFeatures' in module && path && !packed.has(`${path}.weight`) && !path.endsWith('embed_tokens')
      ? [path]
      : [],
  );
  const { quant_method, _load_in_4bit, _load_in_8bit, ...settings } = (config ?? {}) as Record<string, unknown>;
  const made = new BitsAndBytesConfig({
    ...settings,
    load_in_4bit: Boolean(found),
    load_in_8bit: !found,
    bnb_4bit_quant_type: found?.levels ?? 'fp4',
    bnb_4bit_use_double_quant: found?.double ?? false,
    llm_int8_skip_modules: kept,
  });
  return made.toJson();
}
