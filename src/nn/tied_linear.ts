import { Linear } from './linear';
import type { Matrix, Module } from './module';

/**
 * The output head of a model whose embedding table serves as its matrix too: what becomes of the table's own matrix becomes of this
 * one's, but what stands in the place of one is not in that of the other.
 */
export class TiedLinear extends Linear {
  /** What another has put in the place of the shared matrix: not listed, as that is not. */
  #other?: Matrix;
  /** It has become a head with a matrix of its own. */
  #apart = false;

  constructor(private readonly table: () => Module & { weight: Matrix }) {
    super(table().weight);
    // No field: the matrix is listed, saved and freed once, under its owner's name.
    Object.defineProperty(this, 'weight', {
      get: () => this.#other ?? this.table().owned('weight'),
      enumerable: false,
      configurable: true,
    });
  }

  override get printedName(): string {
    return 'Linear';
  }

  override get adapted(): boolean {
    return super.adapted || this.#other !== undefined;
  }

  override swap(field: string, other?: Matrix): Matrix | undefined {
    if (field !== 'weight' || this.#apart) return super.swap(field, other);
    const before = this.#other;
    this.#other = other;
    return before;
  }

  override owned(field: string): Matrix {
    return field !== 'weight' || this.#apart ? super.owned(field) : this.table().owned(field);
  }

  override exchange(field: string, matrix: Matrix): Matrix {
    return field !== 'weight' || this.#apart ? super.exchange(field, matrix) : this.table().exchange(field, matrix);
  }

  /** The table's matrix stays the table's. */
  override adopt(field: string): void {
    if (field !== 'weight' || this.#apart) super.adopt(field);
    else {
      Object.defineProperty(this, 'weight', { value: this.weight, writable: true, enumerable: true, configurable: true });
      this.#apart = true;
      this.#other = undefined;
    }
  }
}
