/** Milliseconds without scrolling after which a reader is taken to look. */
const REST = 200;
let last = Number.NEGATIVE_INFINITY;
document.addEventListener(
  'scroll',
  () => {
    last = performance.now();
  },
  { capture: true, passive: true },
);

/**
 * Resolves when nothing on the page has been scrolled for a moment. The first drawing of a plot takes a tenth of a second, which
 * a reader who scrolls past would feel; until then the still picture is what is seen.
 */
export async function rested(): Promise<void> {
  for (let left = last + REST - performance.now(); left > 0; left = last + REST - performance.now())
    await new Promise((resolve) => setTimeout(resolve, left));
}
