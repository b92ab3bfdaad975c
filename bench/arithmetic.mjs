// What a LoRA training step computes, counted as in docs/benchmarks.md: multiplications and additions of the products that a
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
  const pairs = layers * shapes.reduce((sum, [n, k]) => sum + rank * (n + k), 0);
  const seen = (length * (length + 1)) / 2; // pairs of query and key in a row
  return (
    (4 * tokens * linear + // forward, and the gradient of the input
      6 * tokens * pairs + // and of the pair itself
      2 * 7 * rows * seen * heads * layers + // two products forward, five backward
      4 * labelled * vocabulary * hidden) /
    1e9
  );
}
