import { FileError } from '../core/errors';

/** How files of torch.save begin: a zip archive, or a pickle of protocol 2 to 5. */
function isPickle(head: Uint8Array): boolean {
  const [a, b, c, d] = head;
  // A safetensors file begins with the size of its header in 8 bytes, which may be 0x80 0x02 too, and a brace behind it.
  const isSize = head[8] === 0x7b && head.subarray(4, 8).every((byte) => byte === 0);
  return (a === 0x50 && b === 0x4b && c === 3 && d === 4) || (a === 0x80 && b >= 2 && b <= 5 && !isSize);
}

/** What to do about a file of PyTorch's, whatever it is called. */
export const PICKLE =
  'reading a PyTorch pickle runs whatever code it holds, so tunebook reads safetensors only. Convert it with Python, if you trust where it comes from: ' +
  "transformers' AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder), PEFT's PeftModel likewise, or " +
  'safetensors.torch.save_file(torch.load(file, weights_only=True), "model.safetensors") for tensors alone.';

export const refused = (path: string): FileError => new FileError(`${path} is a pickle: ${PICKLE}`);

/** Refuses a file that begins as torch.save's do, with the remedy. */
export function refusePickle(path: string, head: Uint8Array): void {
  if (isPickle(head)) throw refused(path);
}
