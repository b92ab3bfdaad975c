import type { Kernel } from '@jupyterlab/services';

/** Whether a kernel is tunebook's: others would write into their logs that they do not know what it is asked. */
export async function isOurs(kernel: Kernel.IKernelConnection): Promise<boolean> {
  const { implementation } = await kernel.info;
  return implementation === 'tunebook' && kernel.handleComms;
}
