/**
 * torch's random numbers on a CPU, for what files leave to a seed: the Mersenne twister mt19937 (Matsumoto and Nishimura, 1998) with the seed and the conversions of
 * torch.Generator().manual_seed.
 */
export class TorchRandom {
  private readonly state = new Uint32Array(624);
  private at = 624;

  constructor(seed: number) {
    this.state[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = (Math.imul(1812433253, before) + i) >>> 0;
    }
  }

  /** 32 random bits. */
  bits(): number {
    if (this.at >= 624) this.turn();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private turn(): void {
    const { state } = this;
    for (let i = 0; i < 624; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
      state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  /** Uniform in [from, to), as Tensor.uniform_ draws fp32. */
  uniform(from: number, to: number): number {
    const x = Math.fround((this.bits() & 0xffffff) * 2 ** -24);
    return Math.fround(x * Math.fround(to - from) + from);
  }

  /** The first `count` of torch.randperm(n). */
  permutation(n: number, count = n): number[] {
    const moved = new Map<number, number>();
    const at = (i: number) => moved.get(i) ?? i;
    return Array.from({ length: count }, (_, i) => {
      const j = i < n - 1 ? i + (this.bits() % (n - i)) : i;
      const [here, there] = [at(i), at(j)];
      moved.set(j, here);
      return there;
    });
  }
}
