import { Widget } from '@lumino/widgets';
import type { Context } from '../context';
import type { Place } from './place';

/** A view with charts, which are drawn again when the theme changes, when there is another width, and when it comes to be seen. */
export abstract class ChartView extends Widget {
  private drawnWidth = 0;
  private readonly sizes: ResizeObserver;

  protected constructor(protected readonly context: Context) {
    super();
    this.addClass('tunebook-view');
    this.addClass('tunebook-adapter');
    this.sizes = new ResizeObserver(() => {
      if (Math.abs(this.width() - this.drawnWidth) > 8) this.redraw();
    });
    context.restyled.connect(this.redraw, this);
    this.sizes.observe(this.node);
  }

  /** What is freed with it. */
  protected abstract get places(): readonly Pick<Place, 'dispose'>[];

  /** Draws what is seen, `width` pixels wide. */
  protected abstract draw(width: number): Promise<void>;

  protected redraw(): void {
    if (!this.isAttached) return;
    this.drawnWidth = this.width();
    void this.draw(this.drawnWidth);
  }

  protected override onAfterAttach(): void {
    this.redraw();
  }

  /** Pixels for a chart; as many as a page has where it is not seen yet. */
  protected width(): number {
    return this.node.clientWidth || 1000;
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.context.restyled.disconnect(this.redraw, this);
    this.sizes.disconnect();
    for (const place of this.places) place.dispose();
    super.dispose();
  }
}
