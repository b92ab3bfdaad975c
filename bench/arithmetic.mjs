// What a training step of LoRA (or with rank 'all' of all weights) computes, counted as in docs/benchmarks.md: multiplications and additions of the products that a
// step cannot do without (no recomputation, no padding).
export function stepGflop(config, rows, length, rank, labelled = rows * length) {
  const { hidden_size: hidden, intermediate_size: inner, head_dim: dim, num_hidden_layers: layers, vocab_size: vocabulary } = config;
  const heads = config.num_attention_heads * dim;
  const groups = config.num_key_value_heads * dim;
  const tokens = rows * length;
  const shapes = [
    [hidden, heads],
    [hidden, groups],
    [hidden, groups],
    [heads, hidden],
    [hidden, inner],
    [hidden, inner],
    [inner, hidden],
  ];
  const linear = layers * shapes.reduce((sum, [n, k]) => sum + n * k, 0);
  const full = rank === 'all';
  const pairs = full ? 0 : layers * shapes.reduce((sum, [n, k]) => sum + rank * (n + k), 0);
  const seen = (length * (length + 1)) / 2; // pairs of query and key in a row
  return (
    ((full ? 6 : 4) * tokens * linear + // forward, the gradient of the input, and of a trained weight
      6 * tokens * pairs + // and of the pair itself
      2 * 7 * rows * seen * heads * layers + // two products forward, five backward
      (full ? 6 : 4) * labelled * vocabulary * hidden) /
    1e9
  );
}
